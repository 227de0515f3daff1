// The report's viewer and review: canvas 2-D, no library, no network. Volumes are [z][y][x], x to the patient's left,
// y to his back, z to his head; pictures show his right on the left, as a reader faces him.
"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [NZ, NY, NX] = data.grid.shape, MM = data.grid.spacing_mm;
  const all = [...data.lesions, ...data.candidates], byId = new Map(all.map(l => [l.id, l]));
  const $ = id => document.getElementById(id), each = (what, act) => document.querySelectorAll(what).forEach(act);
  const say = text => { $("readout").textContent = text; };
  const COLOURS = { C: "#009e73", P: "#0072b2", F: "#d55e00", "?": "#754c6e" };
  const DASHES = { C: [], P: [6, 3], F: [2, 2], "?": [8, 2, 2, 2] };

  // ---- volumes -----------------------------------------------------------------------------------------------
  async function unpack(id, Kind) {
    const node = $(id);
    if (!node) return null;
    const text = atob(node.textContent.trim()), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    node.textContent = "";
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Kind(await new Response(stream).arrayBuffer());
  }
  if (typeof DecompressionStream === "undefined") throw new Error("this browser cannot unpack the images");
  const views = [];
  for (const tracer of data.tracers) {
    const view = { ...tracer }, key = tracer.key;
    [view.pet, view.ct, view.labels] = await Promise.all([
      unpack(`pet-${key}`, Uint8Array), unpack(`ct-${key}`, Uint8Array), unpack(`labels-${key}`, Uint16Array)]);
    view.classOf = new Map(data.lesions.filter(l => l.tracer === key).map(l => [l.number, l.class]));
    view.scale = Math.max(1, Math.min(3, 480 / NZ));
    // Projection, coronal and sagittal side by side, if that does not make them tiny; borders and gaps take 34 pixels.
    const fitting = ($(`mip-${key}`).closest(".strip").clientWidth - 34) / (Math.ceil(Math.hypot(NX, NY)) + 1 + NX + NY);
    if (fitting > .75 * view.scale) view.scale = Math.min(view.scale, fitting);
    view.axial = Math.max(1, Math.min(4, 330 / NX));
    prepareMip(view);
    views.push(view);
  }

  // Columns of the body with their voxels along z in a row: a projection then takes milliseconds at any angle.
  function prepareMip(view) {
    const NXY = NX * NY;
    view.columns = []; view.spots = [];
    const low = new Int32Array(NXY).fill(-1), high = new Int32Array(NXY);
    for (let z = 0, i = 0; z < NZ; z++) for (let c = 0; c < NXY; c++, i++) {
      if (view.pet[i] > 3) { if (low[c] < 0) low[c] = z; high[c] = z + 1; }
      const label = view.labels[i];
      if (label && label < data.candidate_offset) view.spots.push([c % NX, Math.floor(c / NX), z, label]);
    }
    for (let c = 0; c < NXY; c++) {
      if (low[c] < 0) continue;
      const run = new Uint8Array(high[c] - low[c]);
      for (let k = 0, i = low[c] * NXY + c; k < run.length; k++, i += NXY) run[k] = view.pet[i];
      view.columns.push({ x: c % NX, y: Math.floor(c / NX), low: low[c], run });
    }
  }

  // ---- state -------------------------------------------------------------------------------------------------
  const state = { voxel: [NZ >> 1, NY >> 1, NX >> 1], angle: 0, mode: "pet", lesion: null, cine: false };
  const WIDE = Math.ceil(Math.hypot(NX, NY)) + 1, CX = (NX - 1) / 2, CY = (NY - 1) / 2, CU = (WIDE - 1) / 2;
  const across = (x, y, c, s) => Math.round(CU + (x - CX) * c + (y - CY) * s);
  const depth = (x, y, c, s) => -(x - CX) * s + (y - CY) * c;
  const grey = new Uint32Array(256), hot = new Uint32Array(256);
  function palettes(view) {
    const part = v => Math.round(255 * Math.max(0, Math.min(1, v)));
    for (let v = 0; v < 256; v++) {
      const t = Math.min(1, v * data.suv_step / view.black), g = part(1 - t);
      grey[v] = 0xff000000 | g << 16 | g << 8 | g;
      hot[v] = 0xff000000 | part(3 * t - 2) << 16 | part(3 * t - 1) << 8 | part(3 * t);
    }
  }

  // ---- drawing -----------------------------------------------------------------------------------------------
  const scratch = document.createElement("canvas");
  function paint(canvas, width, height, pixels, labels, view, scale) {
    const wide = Math.round(width * scale), high = Math.round(height * scale);
    scratch.width = width; scratch.height = height;
    scratch.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height), 0, 0);
    if (canvas.width !== wide) canvas.width = wide;
    if (canvas.height !== high) canvas.height = high;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = true; pen.imageSmoothingQuality = "high";
    pen.drawImage(scratch, 0, 0, wide, high);
    outlines(pen, width, height, labels, view, scale);
    return pen;
  }
  function outlines(pen, width, height, labels, view, scale) {
    const paths = {};
    const add = (key, ax, ay, bx, by) => {
      const path = paths[key] || (paths[key] = new Path2D());
      path.moveTo(ax * scale, ay * scale); path.lineTo(bx * scale, by * scale);
    };
    for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i++) {
      const label = labels[i];
      if (!label) continue;
      const chosen = state.lesion && state.lesion.tracer === view.key && state.lesion.number === label;
      const key = (chosen ? "!" : "") + (label >= data.candidate_offset ? "x" : view.classOf.get(label) || "?");
      if (x === 0 || labels[i - 1] !== label) add(key, x, y, x, y + 1);
      if (x === width - 1 || labels[i + 1] !== label) add(key, x + 1, y, x + 1, y + 1);
      if (y === 0 || labels[i - width] !== label) add(key, x, y, x + 1, y);
      if (y === height - 1 || labels[i + width] !== label) add(key, x, y + 1, x + 1, y + 1);
    }
    for (const [key, path] of Object.entries(paths)) {
      const kind = key.replace("!", "");
      pen.lineWidth = key[0] === "!" ? 3 : 1.5;
      pen.setLineDash(DASHES[kind] || [1, 3]);
      pen.strokeStyle = COLOURS[kind] || "#8a6d00";
      pen.stroke(path);
    }
    pen.setLineDash([]);
  }
  function tag(pen, text, x, y, colour) {
    pen.font = "12px sans-serif"; pen.lineWidth = 3; pen.strokeStyle = "rgba(255,255,255,.85)"; pen.lineJoin = "round";
    pen.strokeText(text, x, y); pen.fillStyle = colour || "#000"; pen.fillText(text, x, y);
  }
  function cross(pen, x, y) {
    const gap = 9, { width, height } = pen.canvas;
    pen.strokeStyle = "rgba(200,30,30,.8)"; pen.lineWidth = 1; pen.beginPath();
    pen.moveTo(x, 0); pen.lineTo(x, y - gap); pen.moveTo(x, y + gap); pen.lineTo(x, height);
    pen.moveTo(0, y); pen.lineTo(x - gap, y); pen.moveTo(x + gap, y); pen.lineTo(width, y); pen.stroke();
  }
  function drawMip(view) {
    const c = Math.cos(state.angle), s = Math.sin(state.angle), scale = view.scale;
    const flat = new Uint8Array(WIDE * NZ);
    for (const { x, y, low, run } of view.columns) {
      let at = across(x, y, c, s) * NZ + low;
      for (let i = 0; i < run.length; i++, at++) if (run[i] > flat[at]) flat[at] = run[i];
    }
    const labels = new Uint16Array(WIDE * NZ), nearest = new Float32Array(WIDE * NZ).fill(1e9), sums = new Map();
    for (const [x, y, z, label] of view.spots) {
      const u = across(x, y, c, s), at = (NZ - 1 - z) * WIDE + u, d = depth(x, y, c, s);
      if (d < nearest[at]) { nearest[at] = d; labels[at] = label; }
      const sum = sums.get(label) || [0, 0, 0];
      sum[0] += u; sum[1] += NZ - 1 - z; sum[2]++; sums.set(label, sum);
    }
    palettes(view);
    const pixels = new Uint32Array(WIDE * NZ);
    for (let u = 0; u < WIDE; u++) for (let z = 0; z < NZ; z++) pixels[(NZ - 1 - z) * WIDE + u] = grey[flat[u * NZ + z]];
    const pen = paint($(`mip-${view.key}`), WIDE, NZ, pixels, labels, view, scale);
    // The chosen lesion's number first, then the largest ones'; none on top of another.
    const own = data.lesions.filter(l => l.tracer === view.key && sums.has(l.number) && (l.number <= 20 || l === state.lesion));
    own.sort((a, b) => (b === state.lesion) - (a === state.lesion) || a.number - b.number);
    const placed = [];
    for (const lesion of own) {
      const sum = sums.get(lesion.number), x = (sum[0] / sum[2] + 2) * scale + 4, y = (sum[1] / sum[2]) * scale - 6;
      const wide = lesion.id.length * 8;
      if (placed.some(p => x < p.x + p.wide && p.x < x + wide && Math.abs(y - p.y) < 12)) continue;
      placed.push({ x, y, wide });
      tag(pen, lesion.id, x, y, COLOURS[lesion.class]);
    }
    const [left, right] = Math.abs(c) >= Math.abs(s) ? (c > 0 ? "RL" : "LR") : (s > 0 ? "AP" : "PA");
    tag(pen, left, 4, 14); tag(pen, right, pen.canvas.width - 14, 14);
    const [z, y, x] = state.voxel;
    cross(pen, (across(x, y, c, s) + .5) * scale, (NZ - z - .5) * scale);
  }
  // Of each plane: its size, the voxel of a pixel, the pixel of a voxel, its sides, the axis that steps through it.
  const PLANES = {
    axial: { size: [NX, NY], point: (u, v, [z]) => [z, v, u], mark: ([, y, x]) => [x, y], sides: "RL", axis: 0 },
    coronal: { size: [NX, NZ], point: (u, v, [, y]) => [NZ - 1 - v, y, u], mark: ([z, , x]) => [x, NZ - 1 - z], sides: "RL", axis: 1 },
    sagittal: { size: [NY, NZ], point: (u, v, [, , x]) => [NZ - 1 - v, u, x], mark: ([z, y]) => [y, NZ - 1 - z], sides: "AP", axis: 2 },
  };
  const indexOf = ([z, y, x]) => (z * NY + y) * NX + x;
  function drawPlane(view, name) {
    const plane = PLANES[name], [width, height] = plane.size, pixels = new Uint32Array(width * height);
    const labels = new Uint16Array(width * height), mode = view.ct ? state.mode : "pet", scale = name === "axial" ? view.axial : view.scale;
    const start = indexOf(plane.point(0, 0, state.voxel));
    const across = indexOf(plane.point(1, 0, state.voxel)) - start, down = indexOf(plane.point(0, 1, state.voxel)) - start;
    palettes(view);
    for (let v = 0, i = 0; v < height; v++) for (let u = 0; u < width; u++, i++) {
      const at = start + u * across + v * down;
      labels[i] = view.labels[at];
      if (mode === "pet") { pixels[i] = grey[view.pet[at]]; continue; }
      const g = Math.round(view.ct[at] * 255 / (data.ct_levels - 1)), ct = 0xff000000 | g << 16 | g << 8 | g;
      if (mode === "ct") { pixels[i] = ct; continue; }
      const h = hot[view.pet[at]], t = Math.min(.75, view.pet[at] * data.suv_step / view.black * 1.5);
      const mix = shift => Math.round((ct >> shift & 255) * (1 - t) + (h >> shift & 255) * t) << shift;
      pixels[i] = 0xff000000 | mix(16) | mix(8) | mix(0);
    }
    const pen = paint($(`${name}-${view.key}`), width, height, pixels, labels, view, scale);
    tag(pen, plane.sides[0], 4, 14); tag(pen, plane.sides[1], pen.canvas.width - 14, 14);
    const [mx, my] = plane.mark(state.voxel);
    cross(pen, (mx + .5) * scale, (my + .5) * scale);
  }
  let asked = false, onlyMip = true;
  function draw(mipAlone = false) {
    onlyMip = onlyMip && mipAlone;
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      for (const view of views) {
        drawMip(view);
        if (!onlyMip) for (const name of Object.keys(PLANES)) drawPlane(view, name);
      }
      asked = false; onlyMip = true;
      // The last step holds all that is hotter.
      const suvOf = step => `${(step * data.suv_step).toFixed(1)}${step === 255 ? " or more" : ""}`;
      const suv = views.map(v => `${v.name} SUV ${suvOf(v.pet[indexOf(state.voxel)])}`).join(", ");
      if (!state.cine) say(`${state.lesion ? `${state.lesion.id}, ${state.lesion.text}. ` : ""}At the cross-hair: ${suv} (viewer grid, ${MM.toFixed(1)} mm)`);
      document.body.dataset.voxel = state.voxel.join(" ");
      document.body.dataset.angle = String(Math.round(state.angle * 180 / Math.PI));
    });
  }

  // ---- going places ------------------------------------------------------------------------------------------
  const clamp = (v, n) => Math.max(0, Math.min(n - 1, Math.round(v)));
  function goTo(point) { state.voxel = [clamp(point[0], NZ), clamp(point[1], NY), clamp(point[2], NX)]; draw(); }
  function choose(lesion, scroll, point) {
    state.lesion = lesion;
    each("tr.chosen", row => row.classList.remove("chosen"));
    if (lesion) each(`tr[data-lesion="${lesion.id}"]`, row => {
      row.classList.add("chosen");
      if (scroll && row.closest(".scroll")) row.closest(".scroll").scrollTop = row.offsetTop - 80;
    });
    goTo(point || (lesion ? lesion.voxel : state.voxel));
  }
  function lesionAt(view, point) {
    const number = view.labels[indexOf(point)];
    return number ? all.find(l => l.tracer === view.key && l.number === number) || null : null;
  }
  // Where a click fell, in voxels of a picture that is so many wide and high.
  function place(canvas, event, width, height) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * width, (event.clientY - box.top) / box.height * height];
  }
  for (const view of views) {
    for (const [name, plane] of Object.entries(PLANES)) {
      const canvas = $(`${name}-${view.key}`);
      const follow = event => {
        const [width, height] = plane.size, [u, v] = place(canvas, event, width, height);
        const point = plane.point(clamp(u - .5, width), clamp(v - .5, height), state.voxel);
        choose(lesionAt(view, point) || state.lesion, true, point);
      };
      canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); follow(event); });
      canvas.addEventListener("pointermove", event => { if (event.buttons & 1) follow(event); });
      canvas.addEventListener("wheel", event => { if (document.activeElement !== canvas) return; event.preventDefault(); step(plane.axis, Math.sign(event.deltaY)); }, { passive: false });
      canvas.addEventListener("keydown", event => {
        const moves = { ArrowUp: 1, ArrowRight: 1, PageUp: 5, ArrowDown: -1, ArrowLeft: -1, PageDown: -5 };
        if (event.key in moves) { event.preventDefault(); step(plane.axis, moves[event.key]); }
      });
    }
    const mip = $(`mip-${view.key}`);
    let start = null, turned = false;
    mip.addEventListener("pointerdown", event => { mip.setPointerCapture(event.pointerId); start = [event.clientX, state.angle]; turned = false; });
    mip.addEventListener("pointermove", event => {
      if (!(event.buttons & 1) || !start) return;
      if (Math.abs(event.clientX - start[0]) > 4) turned = true;
      if (turned) { state.angle = start[1] + (event.clientX - start[0]) / 90; draw(true); }
    });
    mip.addEventListener("pointerup", event => {
      if (!turned && start) {
        const [u, v] = place(mip, event, WIDE, NZ), point = hottest(view, Math.floor(u), NZ - 1 - Math.floor(v));
        if (point) choose(lesionAt(view, point), true, point);
      }
      start = null;
    });
    mip.addEventListener("keydown", event => {
      const turns = { ArrowLeft: -10, ArrowRight: 10 };
      if (event.key in turns) { event.preventDefault(); turn(turns[event.key]); }
    });
    $(`black-${view.key}`).addEventListener("input", event => setBlack(view, Number(event.target.value)));
  }
  // A point of the projection is the voxel that made it.
  function hottest(view, u, z) {
    const c = Math.cos(state.angle), s = Math.sin(state.angle);
    let best = -1, point = null;
    for (const { x, y, low, run } of view.columns) {
      if (z < low || z >= low + run.length || run[z - low] <= best || across(x, y, c, s) !== u) continue;
      best = run[z - low]; point = [z, y, x];
    }
    return point;
  }
  function step(axis, by) { const point = [...state.voxel]; point[axis] += by; goTo(point); }
  function turn(degrees) { state.angle += degrees * Math.PI / 180; draw(true); }
  function next(by) {
    if (!all.length) return;
    const at = all.indexOf(state.lesion);
    choose(all[((at < 0 && by < 0 ? 0 : at) + by + all.length) % all.length], true);
  }
  function setMode(mode) { state.mode = document.body.dataset.mode = mode; each("[data-mode]", b => b.setAttribute("aria-pressed", String(b.dataset.mode === mode))); draw(); }
  function setBlack(view, suv) {
    view.black = suv; $(`black-${view.key}`).value = suv; $(`black-value-${view.key}`).textContent = `SUV 0 to ${suv}`;
    $(`tick-${view.key}`).style.left = `${Math.min(100, 100 * view.threshold / suv)}%`;
    draw();
  }
  each("[data-mode]", b => b.addEventListener("click", () => setMode(b.dataset.mode)));
  each("[data-turn]", b => b.addEventListener("click", () => turn(Number(b.dataset.turn))));
  each("[data-next]", b => b.addEventListener("click", () => next(Number(b.dataset.next))));
  each("[data-preset]", b => b.addEventListener("click", () => views.forEach(v => setBlack(v, Number(b.dataset.preset)))));
  each("[data-go]", b => b.addEventListener("click", () => { choose(byId.get(b.dataset.go), false); $("viewer").scrollIntoView({ block: "start" }); }));
  let frame = 0, before = 0;
  function cine(on) {
    state.cine = on; $("cine").setAttribute("aria-pressed", String(on)); cancelAnimationFrame(frame); before = 0;
    const run = now => { state.angle += before ? (now - before) / 1000 * Math.PI / 4 : 0; before = now; draw(true); frame = requestAnimationFrame(run); };
    if (on) frame = requestAnimationFrame(run); else draw();
  }
  $("cine").addEventListener("click", () => cine(!state.cine));
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) return;
    const presets = { 1: 5, 2: 10, 3: 15, 4: 20 };
    if (event.key === "n") next(1); else if (event.key === "p") next(-1);
    else if (event.key === "[") turn(-10); else if (event.key === "]") turn(10);
    else if (event.key === "f") setMode({ pet: "fused", fused: "ct", ct: "pet" }[state.mode]);
    else if (event.key in presets) views.forEach(v => setBlack(v, presets[event.key]));
    else return;
    event.preventDefault();
  });

  // ---- review ------------------------------------------------------------------------------------------------
  const decisions = new Map();
  let saved = true;
  function decide(id, decision) {
    if (!byId.has(id) || !["confirm", "reject", "unsure"].includes(decision)) return;
    if (decisions.get(id) === decision) decisions.delete(id); else decisions.set(id, decision);
    saved = false;
    each(`[data-decide="${id}"]`, b => b.setAttribute("aria-pressed", String(decisions.get(id) === b.dataset.as)));
    each(`tr[data-lesion="${id}"]`, row => { row.dataset.decision = decisions.get(id) || ""; });
    recount();
  }
  // A rejected lesion is left out, a confirmed possible miss is added; unsure changes nothing.
  function recount() {
    for (const { key } of data.tracers) {
      const kept = [...data.lesions.filter(l => decisions.get(l.id) !== "reject"), ...data.candidates.filter(l => decisions.get(l.id) === "confirm")].filter(l => l.tracer === key);
      const sum = what => kept.reduce((total, l) => total + l[what], 0), ml = sum("ml"), g = sum("g");
      $(`now-ml-${key}`).textContent = ml.toFixed(1);
      $(`now-g-${key}`).textContent = g.toFixed(1);
      $(`now-mean-${key}`).textContent = ml ? (g / ml).toFixed(1) : "-";
      $(`now-max-${key}`).textContent = ml ? Math.max(...kept.map(l => l.max)).toFixed(1) : "-";
      $(`now-foci-${key}`).textContent = String(kept.length);
    }
    const count = { confirm: 0, reject: 0, unsure: 0 };
    for (const decision of decisions.values()) count[decision]++;
    $("review-state").textContent = decisions.size ? `${decisions.size} decided: ${count.confirm} confirmed, ${count.reject} rejected, ${count.unsure} unsure.` : "Nothing decided yet.";
    $("now").hidden = !decisions.size;
  }
  each("[data-decide]", b => b.addEventListener("click", () => decide(b.dataset.decide, b.dataset.as)));
  $("save").addEventListener("click", () => {
    const review = { ...data.review, reviewer: $("reviewer").value.trim(), decided_at: new Date().toISOString(), decisions: Object.fromEntries([...decisions].sort()) };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(review, null, 1) + "\n"], { type: "application/json" }));
    link.download = "review.json"; link.click(); saved = true;
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    $("review-state").textContent += " Saved as review.json; 'deeppsma apply-review' makes the reviewed masks of it." + (review.reviewer ? "" : " It names no reviewer.");
  });
  $("load").addEventListener("change", async event => {
    const file = event.target.files[0];
    if (!file) return;
    try {
      const review = JSON.parse(await file.text());
      if (data.tracers.some(t => review.masks_sha256[t.key] !== data.review.masks_sha256[t.key])) throw new Error("it belongs to other masks");
      for (const id of [...decisions.keys()]) decide(id, decisions.get(id));
      for (const [id, decision] of Object.entries(review.decisions)) decide(id, decision);
      $("reviewer").value = String(review.reviewer || ""); saved = true;
    } catch (error) { $("review-state").textContent = `This review cannot be read: ${error.message}`; }
  });
  addEventListener("beforeunload", event => { if (!saved) event.preventDefault(); });

  // ---- sorting -----------------------------------------------------------------------------------------------
  each("th button[data-sort]", button => button.addEventListener("click", () => {
    const head = button.closest("th"), body = button.closest("table").tBodies[0], at = [...head.parentNode.children].indexOf(head);
    const up = head.getAttribute("aria-sort") === "descending";
    head.parentNode.querySelectorAll("th[aria-sort]").forEach(th => th.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => { const v = row.children[at].dataset.value ?? row.children[at].textContent.trim(); return v === "" || isNaN(v) ? v : Number(v); };
    [...body.rows].sort((a, b) => { const p = value(a), q = value(b); return (p < q ? -1 : p > q ? 1 : 0) * (up ? 1 : -1); }).forEach(row => body.append(row));
  }));

  const began = performance.now();
  views.forEach(drawMip);
  document.body.dataset.mipMs = ((performance.now() - began) / views.length).toFixed(1);
  recount();
  views.forEach(view => setBlack(view, view.black));
  choose(data.lesions[0] || null, false);
  document.body.dataset.readyMs = String(Math.round(performance.now()));
  document.body.classList.add("ready");
})().catch(error => {
  document.getElementById("readout").textContent = `The viewer does not run here: ${error.message}. The still pictures show the same findings.`;
  document.body.classList.add("no-viewer");
});
