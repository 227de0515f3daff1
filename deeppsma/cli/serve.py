"""``deeppsma serve``: a process that stays."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from deeppsma.core.defaults import DEFAULT_RECIPE


def add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The ``serve`` command."""
    command = commands.add_parser(
        "serve",
        help="stay, and run a case at each POST /invoke (the platform's invoke mode)",
        description="Loads the networks once and waits. POST /invoke segments the case that lies in DEEPPSMA_INPUT "
        "(/input) into DEEPPSMA_OUTPUT (/output) and answers 201; GET /health answers when it is ready, /live at once, "
        "/metrics for Prometheus. Recipe, device and weights come from the environment, as in the container.",
    )
    command.add_argument("--host", default=os.environ.get("DEEPPSMA_HOST") or "127.0.0.1", help="(default 127.0.0.1)")
    command.add_argument("--port", type=int, default=4743, help="(default 4743, where the platform looks)")
    command.set_defaults(run=_serve, refuse=_refuse)


def _refuse(arguments: Sequence[str]) -> None:
    """It is the entry point of an image: who runs that with another command is told how."""
    from deeppsma.cli.image import refuse_arguments

    refuse_arguments(arguments, "serve takes --host and --port alone")


def _serve(options: argparse.Namespace) -> None:
    import threading

    from deeppsma.cli.image import telling_of_mounts
    from deeppsma.core.errors import ConfigurationError
    from deeppsma.operation.metrics import Metrics
    from deeppsma.operation.serve import Service, log, open_server

    # The port is bound before anything that takes time is loaded: who asks too early would be made to wait longer.
    service = Service(Metrics({"recipe": os.environ.get("DEEPPSMA_RECIPE") or DEFAULT_RECIPE}))
    try:
        server = open_server(service, options.host, options.port)
    except (OSError, OverflowError) as error:
        found = f"cannot be listened on ({error})"
        raise ConfigurationError(f"{options.host}:{options.port}", found, "choose another --port or --host") from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log("listening", host=options.host, port=server.server_address[1])

    from deeppsma.operation.engine import Engine
    from deeppsma.operation.job import OUTPUT, Job, job_of_container
    from deeppsma.pipeline.run_report import RunReport

    def run(job: Job) -> RunReport:
        with telling_of_mounts(job.out, OUTPUT):
            return engine.run(job)[1]

    first = job_of_container()
    engine = Engine(first.recipe, first.device, first.weights)
    for line in engine.warm():
        log("checked", found=line)
    service.set_ready(lambda: run(job_of_container()))
    log("ready")
    threading.Event().wait()  # until a signal ends the process
