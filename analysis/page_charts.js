"use strict";
/* Estimates with 95% intervals, one a line. */
function drawIntervals(host, chart) {
  const width = Math.max(280, host.clientWidth - 20), narrow = width < 520, step = narrow ? 46 : 32;
  const left = narrow ? 8 : Math.min(230, 16 + 7 * chart.rows.reduce((m, r) => Math.max(m, r.label.length), 0));
  const right = width - (narrow ? 8 : 150), top = 8, bottom = top + chart.rows.length * step;
  const values = chart.rows.flatMap((r) => [r.value, r.low, r.high, r.other]).filter((v) => v !== undefined).concat([0, chart.band, -chart.band]);
  let low = Math.min(...values), high = Math.max(...values);
  const pad = (high - low) * 0.06; low -= pad; high += pad;
  const px = (v) => left + (v - low) / (high - low) * (right - left);
  const canvas = svg("svg", { viewBox: `0 0 ${width} ${bottom + 40}`, role: "img", "aria-label": chart.title });
  if (chart.band) canvas.append(svg("rect", { class: "band", x: px(-chart.band), width: px(chart.band) - px(-chart.band), y: top, height: bottom - top }));
  for (const value of ticks(low, high, narrow ? 4 : 8)) {
    canvas.append(svg("line", { class: value === 0 ? "zero" : "grid", x1: px(value), x2: px(value), y1: top, y2: bottom }));
    canvas.append(svg("text", { x: px(value), y: bottom + 16, "text-anchor": "middle" }, value > 0 ? `+${short(value)}` : short(value).replace("-", "−")));
  }
  canvas.append(svg("text", { x: (left + right) / 2, y: bottom + 34, "text-anchor": "middle" }, chart.label));
  chart.rows.forEach((row, i) => {
    const y = top + i * step + (narrow ? 32 : step / 2), bounds = row.low === undefined ? "" : ` (${signed(row.low)} … ${signed(row.high)})`;
    const group = canvas.appendChild(svg("g"));
    group.append(svg("title", {}, `${row.label}: ${signed(row.value)}${bounds}`));
    group.append(svg("text", { x: narrow ? left : left - 10, y: narrow ? y - 14 : y + 4, "text-anchor": narrow ? "start" : "end", class: "strong" }, row.label));
    if (bounds) group.append(svg("line", { class: "whisker", x1: px(row.low), x2: px(row.high), y1: y, y2: y }));
    if (row.other !== undefined) {
      const mark = group.appendChild(svg("path", { class: "other", d: `M${px(row.other)},${y - 6}l6,6l-6,6l-6,-6Z` }));
      mark.append(svg("title", {}, `the paper: ${signed(row.other)}`));
    }
    group.append(svg("circle", { class: "point", cx: px(row.value), cy: y, r: 4.5 }));
    group.append(svg("text", { x: narrow ? right : right + 10, y: narrow ? y - 14 : y + 4, "text-anchor": narrow ? "end" : "start" }, signed(row.value) + bounds));
  });
  host.querySelector("svg")?.remove();
  host.append(canvas);
}

/* Stacked bars, one scale a group. */
function drawBars(host, chart) {
  const width = Math.max(280, host.clientWidth - 20), narrow = width < 520, left = narrow ? 8 : 150, right = width - 70;
  const canvas = svg("svg", { role: "img", "aria-label": chart.title });
  let y = 4;
  for (const group of chart.groups) {
    const most = Math.max(...group.rows.map((r) => r.parts[0] + r.parts[1])) || 1;
    canvas.append(svg("text", { x: 8, y: y + 14, class: "strong" }, group.title));
    y += 22;
    for (const row of group.rows) {
      if (narrow) { canvas.append(svg("text", { x: left, y: y + 11 }, row.label)); y += 15; }
      else canvas.append(svg("text", { x: left - 10, y: y + 13, "text-anchor": "end" }, row.label));
      let x = left;
      row.parts.forEach((value, i) => {
        const wide = value / most * (right - left);
        if (!wide) return;
        const bar = canvas.appendChild(svg("rect", { class: `bar ${row.init} ${i ? "" : "before"}`, x, y, width: wide, height: 17, rx: 2 }));
        bar.append(svg("title", {}, `${row.label}, ${chart.parts[i]}: ${big(value)} ${group.title}`));
        x += wide;
      });
      canvas.append(svg("text", { x: x + 6, y: y + 13 }, big(row.parts[0] + row.parts[1])));
      y += 22;
    }
    y += 8;
  }
  canvas.setAttribute("viewBox", `0 0 ${width} ${y}`);
  host.querySelector("svg")?.remove();
  host.append(canvas);
}

/* Every table can be taken along as CSV. */
for (const host of document.querySelectorAll("figure.table")) {
  const button = html("button", { type: "button", class: "take" }, "CSV");
  button.addEventListener("click", () => {
    const cell = (node) => (/[",\n]/.test(node.textContent) ? `"${node.textContent.replaceAll('"', '""')}"` : node.textContent);
    const text = [...host.querySelectorAll("tr")].map((line) => [...line.cells].map(cell).join(",")).join("\n");
    const link = html("a", { href: URL.createObjectURL(new Blob([text + "\n"], { type: "text/csv" })), download: `${host.dataset.name}.csv` });
    link.click();
    URL.revokeObjectURL(link.href);
  });
  host.append(button);
}
for (const host of document.querySelectorAll(".chart")) {
  const kind = host.dataset.kind;
  if (["ap", "loss", "fit"].includes(kind)) { new Curves(host, kind); continue; }
  const chart = DATA.charts[host.id], draw = kind === "bars" ? drawBars : drawIntervals;
  onWidth(host, () => draw(host, chart));
}
