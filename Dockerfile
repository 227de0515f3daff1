# syntax=docker/dockerfile:1
# The defaults make an image for Grand Challenge: CUDA 12.6 supports the T4 and older drivers.
# For a host without a GPU: --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu (2 GB less).
# An empty TORCH_INDEX_URL takes torch from pip's own index.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim

FROM ${BASE_IMAGE} AS build
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cu126
RUN python3 -m venv /opt/venv
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check \
        ${TORCH_INDEX_URL:+--index-url ${TORCH_INDEX_URL}} "torch==${TORCH_VERSION}"
COPY requirements.lock /tmp/requirements.lock
# reportlab brings a font under the GPL, which no report uses: it goes.
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes --no-deps --requirement /tmp/requirements.lock \
    && rm -f /opt/venv/lib/python3*/site-packages/reportlab/fonts/DarkGarden* \
    && rm -rf /opt/venv/lib/python3*/site-packages/torch/include /opt/venv/lib/python3*/site-packages/torch/share \
    && /opt/venv/bin/pip uninstall --yes pip setuptools 2>/dev/null \
    && find /opt/venv -type d \( -name tests -o -name test \) -path '*site-packages/*/*' \
        \( -path '*/scipy/*' -o -path '*/numpy/*' \) -prune -exec rm -rf {} +

FROM ${BASE_IMAGE} AS app
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="https://deep-psma.grand-challenge.org"
LABEL org.opencontainers.image.title="deeppsma" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Segments PSMA and FDG PET/CT. Weights trained on synthetic patients. Not for clinical use."
COPY --from=build /opt/venv /opt/venv
COPY deeppsma /opt/app/deeppsma
COPY resources /opt/app/resources
COPY inference.py /opt/app/
# Other commands than the entry point's: docker run --entrypoint deeppsma IMAGE COMMAND.
RUN printf '%s\n' '#!/opt/venv/bin/python' 'from deeppsma.__main__ import program' 'program()' > /opt/venv/bin/deeppsma \
    && chmod 755 /opt/venv/bin/deeppsma
# Compiled once here: the root file system is read-only when a job runs.
RUN /opt/venv/bin/python -m compileall -q /opt/app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A volume that is mounted here for a node's storage takes this owner.
RUN install -d -o 1000 -g 1000 /data
WORKDIR /opt/app
USER 1000:1000

# A process that stays (./build.sh with TARGET=invoke): the platform posts to it, case after case.
FROM app AS invoke
LABEL org.grand-challenge.api-method="invoke"
EXPOSE 4743
ENV DEEPPSMA_HOST=0.0.0.0
ENTRYPOINT ["/opt/venv/bin/python", "-m", "deeppsma", "serve"]

# A process a case: the default.
FROM app AS exec
LABEL org.grand-challenge.api-method="exec"
ENTRYPOINT ["/opt/venv/bin/python", "/opt/app/inference.py"]
