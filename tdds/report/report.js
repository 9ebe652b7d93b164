"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const slider = byId("rate"), chooser = byId("method");
const number = (n) => n.toLocaleString("en-US");
const percent = (share) => (100 * share).toFixed(1) + "%";

// Labels of all samples, the first to be kept first: how many of each class the first M hold is the coreset's balance.
for (const one of Object.values(data.methods)) {
  const raw = Uint8Array.from(atob(one.labels), (c) => c.charCodeAt(0));
  one.labels = one.bytes === 1 ? raw : new Uint16Array(raw.buffer);
}

function classCounts(labels, n) {
  const counts = new Map();
  for (let i = 0; i < n; i++) counts.set(labels[i], (counts.get(labels[i]) ?? 0) + 1);
  return counts;
}

function drawHistogram(figure, one, kept) {
  const bars = figure.querySelectorAll("rect.kept"), highest = Math.max(...one.bins);
  let left = kept;
  for (let i = 0; i < one.bins.length; i++) {
    const b = one.keeps === "largest" ? one.bins.length - 1 - i : i;
    const own = Math.min(left, one.bins[b]);
    left -= own;
    bars[b].setAttribute("y", 100 - 100 * own / highest);
    bars[b].setAttribute("height", 100 * own / highest);
  }
  for (const end of ["x1", "x2"]) figure.querySelector(".threshold").setAttribute(end, one.places[slider.value]);
}

function fillTable(one, kept) {
  const before = classCounts(one.labels, data.nSamples), after = classCounts(one.labels, kept);
  for (const row of document.querySelectorAll("#balance tbody tr")) {
    const n = before.get(Number(row.dataset.class)), m = after.get(Number(row.dataset.class)) ?? 0;
    const texts = { n: number(n), before: percent(n / data.nSamples), kept: number(m), after: percent(m / kept), share: percent(m / n) };
    for (const [name, text] of Object.entries(texts)) row.querySelector("." + name).textContent = text;
    row.querySelector(".bar i").style.width = percent(m / n);
    row.querySelector(".bar span").style.setProperty("--mean", percent(kept / data.nSamples));
  }
}

function update() {
  const name = chooser ? chooser.value : Object.keys(data.methods)[0];
  const one = data.methods[name], kept = data.kept[slider.value];
  for (const part of document.querySelectorAll("[data-method]")) part.hidden = part.dataset.method !== name;
  const rate = slider.value / 1000;
  slider.setAttribute("aria-valuetext", percent(rate) + " removed");
  byId("rate-text").textContent = percent(rate);
  byId("kept").textContent = number(kept);
  byId("threshold").textContent = one.thresholds[slider.value];
  byId("side").textContent = one.keeps === "largest" ? "more" : "less";
  byId("select").textContent = `tdds select ${data.file} --method ${name} --pruning-rate ${rate} -o kept.csv`;
  drawHistogram(document.querySelector(`figure[data-method="${CSS.escape(name)}"]`), one, kept);
  fillTable(one, kept);
}

slider.addEventListener("input", update);
if (chooser) chooser.addEventListener("change", update);
update();
