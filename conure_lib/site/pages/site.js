// Sorting and filtering the ledger, finding names, choosing a dataset's figures, hiding code, curves that tell their values.
// Without it every page still shows all it has.
"use strict";

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const make = (name, attributes = {}, text = "") => {
  const svg = ["svg", "g", "line", "path", "circle", "text", "rect"].includes(name);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== "") node.textContent = text;
  return node;
};

// ---- the ledger

function sortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = all("thead th", table);
  const key = (row, column) => row.cells[column].dataset.sort;
  const compare = (a, b) => a.localeCompare(b, "en", { numeric: true });
  table.classList.add("sorts");
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      // sort() is stable: claims with the same verdict stay in the order of their numbers.
      const rows = [...original].sort((a, b) => (down ? -1 : 1) * compare(key(a, column), key(b, column)));
      body.append(...rows);
    });
  });
}

function filterable(table) {
  const field = (id) => document.getElementById(id);
  const rows = [...table.tBodies[0].rows];
  const wanted = (id) => (field(id) ? field(id).value : "");
  const show = () => {
    const words = wanted("find").toLowerCase().split(/\s+/).filter(Boolean);
    const verdict = wanted("verdict");
    const dataset = wanted("dataset");
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const cells = all("td[data-dataset]", row).filter((cell) => !dataset || cell.dataset.dataset === dataset);
      const fits = !verdict || cells.some((cell) => cell.dataset.verdict === verdict);
      row.hidden = !(fits && words.every((word) => text.includes(word)));
      count += row.hidden ? 0 : 1;
    }
    field("shown").textContent = `${count} of ${rows.length} claims`;
  };
  ["find", "verdict", "dataset"].filter(field).forEach((id) => field(id).addEventListener("input", show));
  let open = false;
  field("rules").addEventListener("click", ({ currentTarget: button }) => {
    open = !open;
    button.textContent = open ? "Hide all rules" : "Show all rules";
    all("details", table).forEach((one) => { one.open = open; });
  });
  show();
}

// ---- the API reference: names that hold the words, and modules that have one of them

function findable(table) {
  const field = document.getElementById("find-name");
  const rows = [...table.tBodies[0].rows];
  const show = () => {
    const word = field.value.trim().toLowerCase();
    const has = (node) => node.textContent.toLowerCase().includes(word);
    let count = 0;
    for (const row of rows) {
      const names = all(".list a", row);
      const module = has(row.cells[0]);
      for (const name of names) name.hidden = !(module || has(name));
      const fits = names.filter((name) => !name.hidden).length;
      row.hidden = !(module || fits);
      count += fits;
    }
    document.getElementById("found").textContent = `${count} name${count === 1 ? "" : "s"}`;
  };
  field.addEventListener("input", show);
  show();
}

// ---- curves

const WIDE = 300, HIGH = 190, LEFT = 42, RIGHT = 10, TOP = 8, BOTTOM = 34;

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) found.push(i * step);
  return found;
}

const short = (value) => String(Number(value.toPrecision(4)));

function swatch(line) {
  const svg = make("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" });
  svg.append(make("line", { x1: 0, x2: 26, y1: 4, y2: 4, stroke: line.color, "stroke-width": 3, "stroke-dasharray": line.dash }));
  return svg;
}

// One panel: axes, bands, lines, and below them a table with the values at the epoch that is pointed at.
function panel(data, name) {
  const points = data.lines.flatMap((line) => line.points);
  const epochs = [...new Set(points.map(([epoch]) => epoch))].sort((a, b) => a - b);
  const values = points.flatMap(([, mean, sd]) => [mean - sd, mean + sd]).concat(data.level ? [data.level.value] : []);
  const margin = (Math.max(...values) - Math.min(...values)) * 0.05 || 0.01;
  const [low, high] = [Math.min(...values) - margin, Math.max(...values) + margin];
  const [first, last] = [epochs[0], epochs[epochs.length - 1]];
  const x = (epoch) => LEFT + ((epoch - first) / (last - first || 1)) * (WIDE - LEFT - RIGHT);
  const y = (value) => TOP + ((high - value) / (high - low)) * (HIGH - TOP - BOTTOM);

  const svg = make("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "slider", tabindex: 0, "aria-label": `${name}, ${data.title}: ${data.x}`, "aria-valuemin": first, "aria-valuemax": last });
  for (const tick of ticks(low, high, 5)) {
    svg.append(make("line", { class: "grid", x1: LEFT, x2: WIDE - RIGHT, y1: y(tick), y2: y(tick) }));
    svg.append(make("text", { x: LEFT - 5, y: y(tick) + 4, "text-anchor": "end" }, short(tick)));
  }
  for (const tick of ticks(first, last, 6).filter(Number.isInteger)) {
    svg.append(make("text", { x: x(tick), y: HIGH - BOTTOM + 15, "text-anchor": "middle" }, short(tick)));
  }
  svg.append(make("text", { x: (LEFT + WIDE - RIGHT) / 2, y: HIGH - 4, "text-anchor": "middle" }, data.x));
  if (data.level) {
    svg.append(make("line", { x1: LEFT, x2: WIDE - RIGHT, y1: y(data.level.value), y2: y(data.level.value), stroke: data.level.color, "stroke-dasharray": "8 4" }));
  }
  const path = (pairs) => pairs.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
  for (const { color, points: own } of data.lines) {
    const band = [...own.map(([e, m, sd]) => [e, m + sd]), ...own.map(([e, m, sd]) => [e, m - sd]).reverse()];
    svg.append(make("path", { d: `${path(band)}Z`, fill: color, opacity: 0.15 }));
  }
  for (const { color, dash, points: own } of data.lines) {
    svg.append(make("path", { d: path(own), fill: "none", stroke: color, "stroke-width": 2, "stroke-dasharray": dash }));
  }
  const cursor = make("line", { class: "cursor", y1: TOP, y2: HIGH - BOTTOM });
  const dots = data.lines.map(({ color }) => make("circle", { r: 3.5, fill: color, stroke: "#fff" }));
  svg.append(cursor, ...dots);

  const table = make("table", { class: "readout" });
  const caption = table.createCaption();
  const outputs = data.lines.map((line) => {
    const row = table.insertRow();
    const head = make("th", { scope: "row" });
    head.append(swatch(line), line.name);
    row.append(head);
    return row.insertCell();
  });
  if (data.level) {
    const row = table.insertRow();
    const head = make("th", { scope: "row" });
    head.append(swatch({ color: data.level.color, dash: "8 4" }), data.level.name);
    row.append(head);
    row.insertCell().textContent = short(data.level.value);
  }

  let at = epochs.length - 1;
  const point = (place) => {
    at = Math.max(0, Math.min(epochs.length - 1, place));
    const epoch = epochs[at];
    cursor.setAttribute("x1", x(epoch));
    cursor.setAttribute("x2", x(epoch));
    const said = data.lines.map(({ name: line, points: own }, i) => {
      const found = own.find(([e]) => e === epoch);
      dots[i].setAttribute("visibility", found ? "visible" : "hidden");
      if (found) {
        dots[i].setAttribute("cx", x(epoch));
        dots[i].setAttribute("cy", y(found[1]));
      }
      outputs[i].textContent = found ? short(found[1]) + (found[3] > 1 ? ` ± ${found[2].toPrecision(2)}` : "") : "–";
      return `${line} ${outputs[i].textContent}`;
    });
    const seeds = Math.max(...data.lines.flatMap((line) => line.points.map((p) => p[3])));
    caption.textContent = `${data.x} ${epoch}${seeds > 1 ? `, mean ± sd of ${seeds} seeds` : ", 1 seed"}`;
    svg.setAttribute("aria-valuenow", epoch);
    svg.setAttribute("aria-valuetext", `${data.x} ${epoch}: ${said.join(", ")}`);
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * WIDE;
    const distance = epochs.map((epoch) => Math.abs(x(epoch) - px));
    point(distance.indexOf(Math.min(...distance)));
  });
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0, End: epochs.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    point(moves[event.key]);
  });
  point(at);
  const whole = make("div", { class: "panel" });
  whole.append(make("h4", {}, `${data.title}: ${data.y}`), svg, table);
  return whole;
}

// ---- what this page has; a name of the library may be an id as well, so the element is asked for too

const table = document.querySelector("table#claims");
if (table) {
  sortable(table);
  filterable(table);
}
const names = document.querySelector("table#names");
if (names) findable(names);
for (const holder of all(".curves")) {
  const data = JSON.parse(holder.querySelector("script").textContent);
  holder.append(...data.map((one) => panel(one, holder.dataset.name)));
}
const of = document.querySelector("select#figures-of");
if (of) {
  of.addEventListener("input", () => {
    all(".card[data-dataset]").forEach((card) => { card.hidden = Boolean(of.value) && card.dataset.dataset !== of.value; });
  });
}
const code = document.querySelector("button#code");
if (code) {
  let shown = true;
  code.addEventListener("click", () => {
    shown = !shown;
    code.textContent = shown ? "Hide the code" : "Show the code";
    document.querySelector(".notebook").classList.toggle("hidden-code", !shown);
  });
}
// Beside the text the contents stay open; above it, in a narrow window, they would push it down.
if (matchMedia("(max-width: 62rem)").matches) all(".members details").forEach((one) => { one.open = false; });
all(".tools").forEach((tools) => { tools.hidden = false; });
