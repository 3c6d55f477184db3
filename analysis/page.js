"use strict";
// What the page's scripts share; page_curves.js and page_charts.js draw the JSON in #study-data. No library, no network.
const DATA = JSON.parse(document.getElementById("study-data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const NAMES = { random: "random init", pretrained: "pre-trained" };
const tip = document.body.appendChild(html("div", { class: "tip", hidden: "" }));

function html(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
function svg(tag, attributes = {}, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}
function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= raw - 1e-12);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) {
    found.push(Math.abs(value) < step * 1e-9 ? 0 : value);
  }
  return found;
}
const short = (v) => Number(v.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 4 });
const big = (v) => [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].reduce(
  (text, [limit, letter]) => text || (v >= limit ? `${Number((v / limit).toPrecision(3))}${letter}` : ""), "") || short(v);
const signed = (v) => (Math.abs(v) < 0.05 ? "0.0" : (v > 0 ? "+" : "−") + Math.abs(v).toFixed(1));

function showTip(event, lines) {
  tip.replaceChildren(...lines.map((line, i) => html(i ? "div" : "b", {}, line)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const x = event.clientX + 14 + box.width > innerWidth ? event.clientX - box.width - 14 : event.clientX + 14;
  tip.style.left = `${Math.max(4, x)}px`;
  tip.style.top = `${Math.max(4, event.clientY - box.height - 10)}px`;
}
const hideTip = () => { tip.hidden = true; };

/* Draws now, and again whenever the width has changed: in the next frame, since drawing changes the height. */
function onWidth(host, draw) {
  let width = host.clientWidth;
  draw();
  new ResizeObserver(() => {
    if (host.clientWidth === width) return;
    width = host.clientWidth;
    requestAnimationFrame(draw);
  }).observe(host);
}

