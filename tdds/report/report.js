"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const slider = byId("rate"), chooser = byId("method");
const number = (n) => n.toLocaleString("en-US");
const percent = (share) => (100 * share).toFixed(1) + "%";

// Class and bin of every sample, the first to be kept first: what the first M hold is what a coreset of M holds.
function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return bytes.length === data.nSamples ? bytes : new Uint16Array(bytes.buffer);
}
for (const one of Object.values(data.methods)) {
  one.classes = unpack(one.classes);
  one.bins = unpack(one.bins);
}

function countFirst(values, n) {
  const counts = new Uint32Array(65536);
  for (let i = 0; i < n; i++) counts[values[i]]++;
  return counts;
}

function drawHistogram(figure, one, nKept) {
  const all = countFirst(one.bins, data.nSamples), kept = countFirst(one.bins, nKept);
  const highest = all.reduce((a, b) => Math.max(a, b));
  figure.querySelectorAll("rect.kept").forEach((bar, i) => {
    bar.setAttribute("y", 100 - 100 * kept[i] / highest);
    bar.setAttribute("height", 100 * kept[i] / highest);
  });
  const line = figure.querySelector(".threshold");
  for (const end of ["x1", "x2"]) line.setAttribute(end, one.places[slider.value]);
  line.toggleAttribute("hidden", !one.side);
}

function fillTable(one, nKept) {
  const before = countFirst(one.classes, data.nSamples), after = countFirst(one.classes, nKept);
  const rows = document.querySelectorAll("#balance tbody tr"), mean = nKept / data.nSamples;
  const longest = Math.max(...Array.from(rows, (row) => after[row.dataset.class] / before[row.dataset.class]));
  for (const row of rows) {
    const n = before[row.dataset.class], m = after[row.dataset.class];
    const cells = { n: number(n), before: percent(n / data.nSamples), kept: number(m), after: percent(m / nKept), share: percent(m / n) };
    for (const [name, text] of Object.entries(cells)) row.querySelector("." + name).textContent = text;
    row.querySelector(".bar i").style.width = percent(m / n / longest);
    row.querySelector(".bar span").style.setProperty("--mean", percent(mean / longest));
  }
}

function update() {
  const name = chooser ? chooser.value : Object.keys(data.methods)[0];
  const one = data.methods[name], nKept = data.kept[slider.value], rate = slider.value / 1000;
  for (const part of document.querySelectorAll("[data-method]")) part.hidden = part.dataset.method !== name;
  slider.setAttribute("aria-valuetext", percent(rate) + " removed");
  byId("rate-text").textContent = percent(rate);
  byId("kept").textContent = number(nKept);
  byId("cut").hidden = !one.side;
  byId("threshold").textContent = one.thresholds[slider.value];
  byId("side").textContent = one.side;
  byId("tied").hidden = !one.tied[slider.value];
  byId("select").textContent = `tdds select ${data.file} --method ${name} --pruning-rate ${rate} -o kept.csv`;
  drawHistogram(document.querySelector(`figure[data-method="${CSS.escape(name)}"]`), one, nKept);
  fillTable(one, nKept);
}

slider.addEventListener("input", update);
if (chooser) chooser.addEventListener("change", update);
update();
