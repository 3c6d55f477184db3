"use strict";
/* Curves over iterations: toggles for inits, schedules, seeds and kinds; hover; zoom by dragging or by buttons. */
class Curves {
  constructor(host, kind) {
    this.host = host;
    this.kind = kind;
    this.setting = Number(host.dataset.setting || 0);
    this.metric = kind === "loss" ? "loss" : kind === "fit" ? "box_ap" : DATA.curves.metrics[0][0];
    this.off = new Set();
    this.zoom = null;
    this.controls = host.appendChild(html("div", { class: "controls" }));
    this.canvas = host.appendChild(svg("svg", { tabindex: "0", role: "img" }));
    this.canvas.addEventListener("keydown", (event) => this.onKey(event));
    this.makeControls();
    onWidth(host, () => this.draw());
    matchMedia("print").addEventListener("change", () => this.draw());
  }
  get current() { return DATA.curves.settings[this.setting]; }

  makeControls() {
    this.controls.replaceChildren();
    if (DATA.curves.settings.length > 1) this.addSelect("Setting", DATA.curves.settings.map((s, i) => [i, s.label]),
      (value) => { this.setting = Number(value); this.zoom = null; this.makeControls(); this.draw(); }, this.setting);
    if (this.kind === "ap" && DATA.curves.metrics.length > 1) this.addSelect("Metric", DATA.curves.metrics,
      (value) => { this.metric = value; this.draw(); }, this.metric);
    const trials = this.current.trials, unique = (key) => [...new Set(trials.map((t) => t[key]))];
    for (const init of unique("init")) this.addToggle(`init:${init}`, NAMES[init], init);
    if (this.kind !== "ap") for (const split of ["val", "train"]) {
      this.addToggle(`split:${split}`, split === "val" ? "validation (solid)" : "training (dotted)");
    }
    const schedules = unique("schedule"), seeds = unique("seed").sort((a, b) => a - b);
    if (schedules.length > 1 && schedules.length < 12) for (const s of schedules) this.addToggle(`schedule:${s}`, s);
    if (seeds.length > 1 && seeds.length < 12) for (const s of seeds) this.addToggle(`seed:${s}`, `seed ${s}`);
    if (this.kind === "ap" && this.current.paper.length) this.addToggle("paper", "the paper (digitised, dashed)");
    this.controls.append(html("span", { class: "gap" }));
    for (const [text, label, act] of [["+", "Zoom in", () => this.zoomBy(0.5)], ["−", "Zoom out", () => this.zoomBy(2)],
      ["all", "Show all", () => { this.zoom = null; this.draw(); }]]) {
      const button = html("button", { type: "button", "aria-label": label, title: label }, text);
      button.addEventListener("click", act);
      this.controls.append(button);
    }
  }
  addSelect(label, options, act, value) {
    const select = html("select", { "aria-label": label }, ...options.map(([key, name]) => html("option", { value: key }, name)));
    select.value = value;
    select.addEventListener("change", () => act(select.value));
    this.controls.append(select);
  }
  addToggle(key, text, init) {
    const button = html("button", { type: "button", "aria-pressed": String(!this.off.has(key)), "data-key": key });
    if (init) button.append(html("span", { class: `dot ${init}` }));
    button.append(text);
    button.addEventListener("click", () => {
      if (!this.off.delete(key)) this.off.add(key);
      button.setAttribute("aria-pressed", String(!this.off.has(key)));
      this.draw();
    });
    this.controls.append(button);
  }

  /* Rows and key of a split's curve: AP on training pictures stands in the rows of evaluations. */
  source(split) {
    return this.kind === "fit" ? ["val", split === "val" ? "box_ap" : "train_box_ap"] : [split, this.metric];
  }
  series() {
    const found = [], off = this.off;
    for (const trial of this.current.trials) {
      if (["init", "schedule", "seed"].some((key) => off.has(`${key}:${trial[key]}`))) continue;
      for (const split of this.kind === "ap" ? ["val"] : ["val", "train"]) {
        if (off.has(`split:${split}`)) continue;
        const x = [], y = [], [of, key] = this.source(split);
        for (const [segment, start, end] of trial.parts) {
          const rows = DATA.curves.segments[segment][of];
          if (!rows || !rows[key]) continue;
          rows.x.forEach((at, i) => {
            if (at > start && at <= end && rows[key][i] !== null) { x.push(at); y.push(rows[key][i]); }
          });
        }
        const name = `${NAMES[trial.init]}, ${trial.schedule}, seed ${trial.seed}` +
          (this.kind === "ap" ? "" : split === "val" ? ", validation" : ", training");
        if (x.length) found.push({ name, init: trial.init, kind: split, x, y });
      }
    }
    if (this.kind === "ap" && this.metric === "box_ap" && !off.has("paper")) for (const c of this.current.paper) {
      if (off.has(`init:${c.init}`)) continue;
      found.push({ name: `paper ${c.figure}: ${NAMES[c.init]}, ${c.schedule}`, init: c.init, kind: "paper", x: c.x, y: c.y });
    }
    return found;
  }

  draw() {
    const width = Math.max(280, this.host.clientWidth - 20), height = Math.max(300, Math.min(430, width * 0.5));
    const box = { left: 44, right: width - (width < 520 ? 12 : 86), top: 22, bottom: height - 40 };
    const all = this.series(), canvas = this.canvas;
    canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    canvas.setAttribute("aria-label", `${this.host.dataset.title}: ${all.length} curves`);
    canvas.replaceChildren();
    if (!all.length) {
      canvas.append(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "Nothing is switched on, or nothing is measured yet."));
      return;
    }
    const far = all.reduce((m, s) => Math.max(m, s.x[s.x.length - 1]), 0);
    const [x0, x1] = this.zoom || [0, far];
    const seen = all.flatMap((s) => s.y.filter((_, i) => s.x[i] >= x0 && s.x[i] <= x1));
    let low = seen.reduce((m, v) => Math.min(m, v), Infinity), high = seen.reduce((m, v) => Math.max(m, v), -Infinity);
    if (!(high >= low)) [low, high] = [0, 1];
    if (!this.zoom && this.kind !== "loss") low = Math.min(0, low);
    const pad = (high - low || 1) * 0.04;
    low = low < 0 || this.zoom || this.kind === "loss" ? low - pad : low; high += pad;
    const px = (v) => box.left + (v - x0) / (x1 - x0 || 1) * (box.right - box.left);
    const py = (v) => box.bottom - (v - low) / (high - low || 1) * (box.bottom - box.top);
    this.frame(box, { x0, x1, low, high, px, py, width, height });
    const clip = `clip-${this.host.id}`;
    const defs = canvas.appendChild(svg("defs")), path = defs.appendChild(svg("clipPath", { id: clip }));
    path.append(svg("rect", { x: box.left, y: box.top - 4, width: box.right - box.left + 8, height: box.bottom - box.top + 8 }));
    const layer = canvas.appendChild(svg("g", { "clip-path": `url(#${clip})` }));
    for (const s of all) {
      const d = s.x.map((x, i) => `${i ? "L" : "M"}${px(x).toFixed(1)},${py(s.y[i]).toFixed(1)}`).join("");
      s.node = layer.appendChild(svg("path", { d, class: `curve ${s.init} ${s.kind}` }));
      const last = s.x.length - 1;
      if (s.kind === "val") layer.append(svg("circle", { cx: px(s.x[last]), cy: py(s.y[last]), r: 3.2, class: `end ${s.init}` }));
    }
    if (this.kind === "ap" && this.metric === "box_ap" && !this.off.has("paper")) for (const [name, ap] of this.current.references) {
      if (ap < low || ap > high) continue;
      canvas.append(svg("line", { class: "zero", x1: box.left, x2: box.right, y1: py(ap), y2: py(ap) }));
      canvas.append(svg("text", { x: box.right, y: py(ap) - 4, "text-anchor": "end" }, `${name} ${ap}`));
    }
    if (width >= 520) this.labelEnds(all, box, x1, py);
    this.listen(all, box, { x0, x1, px, py });
  }
  /* Each init's name beside the end of its longest curve, no two on one another. */
  labelEnds(all, box, x1, py) {
    const last = {};
    for (const s of all) if (s.kind === "val" && (!last[s.init] || s.x.at(-1) > last[s.init].x.at(-1))) last[s.init] = s;
    const places = Object.entries(last).filter(([, s]) => s.x.at(-1) > 0.9 * x1 && s.x.at(-1) <= x1)
      .map(([init, s]) => [init, py(s.y.at(-1))]).sort((a, b) => a[1] - b[1]);
    places.forEach((place, i) => { if (i) place[1] = Math.max(place[1], places[i - 1][1] + 15); });
    for (const [init, y] of places) this.canvas.append(svg("text", { x: box.right + 8, y: y + 4, class: `name ${init}` }, NAMES[init]));
  }
  frame(box, { x0, x1, low, high, px, py, height }) {
    const canvas = this.canvas, narrow = box.right < 480;
    for (const value of ticks(low, high, 5)) {
      canvas.append(svg("line", { x1: box.left, x2: box.right, y1: py(value), y2: py(value), class: "grid" }));
      canvas.append(svg("text", { x: box.left - 6, y: py(value) + 4, "text-anchor": "end" }, short(value)));
    }
    for (const value of ticks(x0, x1, narrow ? 4 : 7)) {
      canvas.append(svg("text", { x: px(value), y: box.bottom + 17, "text-anchor": "middle" }, big(value)));
    }
    let taken = -Infinity;
    const ends = new Map(this.current.trials.map((t) => [t.parts[t.parts.length - 1][2], t.schedule]));
    for (const [end, name] of [...ends].sort((a, b) => a[0] - b[0])) {
      if (end < x0 || end > x1) continue;
      canvas.append(svg("line", { x1: px(end), x2: px(end), y1: box.top, y2: box.bottom, class: "grid" }));
      if (px(end) - taken > 24) { canvas.append(svg("text", { x: px(end), y: box.top - 8, "text-anchor": "middle" }, name)); taken = px(end); }
    }
    canvas.append(svg("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "axis" }));
    const label = this.kind === "loss" ? "loss" : this.kind === "fit" ? "box AP, %" : (DATA.curves.metrics.find((m) => m[0] === this.metric) || ["", ""])[1] + ", %";
    canvas.append(svg("text", { x: box.left - 38, y: box.top - 8 }, label));
    const unit = this.current.unit ? ` (1x = ${this.current.unit.toLocaleString("en")})` : "";
    canvas.append(svg("text", { x: (box.left + box.right) / 2, y: height - 5, "text-anchor": "middle" }, `iterations${unit}`));
  }
  listen(all, box, { x0, x1, px, py }) {
    const canvas = this.canvas;
    const cross = canvas.appendChild(svg("line", { class: "cross", y1: box.top, y2: box.bottom, visibility: "hidden" }));
    const mark = canvas.appendChild(svg("rect", { class: "zoom", y: box.top, height: box.bottom - box.top, visibility: "hidden" }));
    const pane = canvas.appendChild(svg("rect", { x: box.left, y: box.top, width: box.right - box.left,
      height: box.bottom - box.top, fill: "transparent" }));
    const toX = (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(canvas.getScreenCTM().inverse());
      return [Math.min(box.right, Math.max(box.left, at.x)), at.y];
    };
    const value = (x) => x0 + (x - box.left) / (box.right - box.left) * (x1 - x0);
    let from = null;
    pane.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse") { from = toX(event)[0]; pane.setPointerCapture(event.pointerId); }
    });
    pane.addEventListener("pointerup", (event) => {
      const to = toX(event)[0], start = from;
      from = null;
      if (start !== null && Math.abs(to - start) > 8) { this.zoom = [value(Math.min(start, to)), value(Math.max(start, to))]; hideTip(); this.draw(); }
    });
    pane.addEventListener("dblclick", () => { this.zoom = null; this.draw(); });
    pane.addEventListener("pointerleave", () => { hideTip(); cross.setAttribute("visibility", "hidden"); this.highlight(all, null); });
    pane.addEventListener("pointermove", (event) => {
      const [x, y] = toX(event);
      if (from !== null) {
        mark.setAttribute("x", Math.min(from, x)); mark.setAttribute("width", Math.abs(x - from)); mark.setAttribute("visibility", "visible");
      }
      let best = null, distance = Infinity;
      for (const s of all) for (let i = 0; i < s.x.length; i += 1) {
        const far = Math.hypot(px(s.x[i]) - x, py(s.y[i]) - y);
        if (far < distance) { distance = far; best = [s, i]; }
      }
      if (!best) return;
      const [s, i] = best;
      cross.setAttribute("x1", px(s.x[i])); cross.setAttribute("x2", px(s.x[i])); cross.setAttribute("visibility", "visible");
      this.highlight(all, s);
      const units = this.current.unit ? ` (${(s.x[i] / this.current.unit).toFixed(2)}x)` : "";
      showTip(event, [s.name, `iteration ${s.x[i].toLocaleString("en")}${units}`, `${this.kind === "loss" ? "loss" : "AP"} ${short(s.y[i])}`]);
    });
  }
  highlight(all, chosen) {
    for (const s of all) {
      s.node.classList.toggle("strong", s === chosen);
      s.node.classList.toggle("faded", chosen !== null && s !== chosen);
    }
  }
  zoomBy(factor) {
    const far = this.series().reduce((m, s) => Math.max(m, s.x[s.x.length - 1]), 1);
    const [low, high] = this.zoom || [0, far], half = (high - low) * factor / 2;
    const middle = factor < 1 && !this.zoom ? high - half : (low + high) / 2;
    this.zoom = [Math.max(0, middle - half), Math.min(far, middle + half)];
    if (this.zoom[0] === 0 && this.zoom[1] === far) this.zoom = null;
    this.draw();
  }
  onKey(event) {
    const act = { "+": () => this.zoomBy(0.5), "-": () => this.zoomBy(2), 0: () => { this.zoom = null; this.draw(); },
      ArrowLeft: () => this.pan(-0.25), ArrowRight: () => this.pan(0.25) }[event.key];
    if (act) { event.preventDefault(); act(); }
  }
  pan(share) {
    if (!this.zoom) return;
    const move = (this.zoom[1] - this.zoom[0]) * share;
    if (this.zoom[0] + move < 0) return;
    this.zoom = this.zoom.map((v) => v + move);
    this.draw();
  }
}
