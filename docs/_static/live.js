"use strict";

// The page "Draw your own": its fields hold the state, and a change draws it again.

const live = (() => {
  const { number, rateText, float32Text, stepsText } = schedules;
  const MARGIN = { left: 68, right: 22, top: 40, bottom: 46 }; // as in live.css

  const CONTROLS = [
    {
      name: "peak",
      label: "Peak",
      unit: "the highest rate",
      text: rateText,
      initial: "3e-4",
      stops: () => decades(-6, 1),
    },
    {
      name: "floor",
      label: "Floor",
      unit: "the last rate",
      text: rateText,
      initial: "3e-5",
      stops: ({ peak }) => rateStops(peak),
    },
    {
      name: "length",
      label: "Length",
      unit: "updates",
      text: stepsText,
      initial: "10_000",
      stops: () => decades(1, 6),
    },
    {
      name: "cycles",
      label: "Cycles",
      unit: "1: no restarts",
      text: stepsText,
      initial: "1",
      stops: () => Array.from({ length: 12 }, (_, k) => k + 1),
    },
    {
      name: "warmup",
      label: "Warm-up",
      unit: "updates",
      text: stepsText,
      initial: "500",
      stops: ({ length, hold }) => wholeStops(length - hold),
    },
    {
      name: "hold",
      label: "Hold",
      unit: "updates at the peak",
      text: stepsText,
      initial: "0",
      stops: ({ length, warmup }) => wholeStops(length - warmup),
    },
  ];

  // Sliders move along stops, which are short numbers.

  // 1, 1.5, 2, ... 9.5 in each decade, and the first of the next.
  const decades = (first, last) => [
    ...Array.from({ length: last - first }, (_, k) =>
      Array.from({ length: 18 }, (_, half) => Number(`${1 + half / 2}e${first + k}`)),
    ).flat(),
    Number(`1e${last}`),
  ];

  // Hundredths of the peak, in few digits.
  function rateStops(peak) {
    if (!(peak > 0 && peak < Infinity)) return [0];
    return Array.from({ length: 101 }, (_, k) =>
      Math.min(Number((peak * (k / 100)).toPrecision(4)), peak),
    );
  }

  // About a hundred stops, the last of which uses all of the room.
  function wholeStops(room) {
    if (!(room > 0 && room <= schedules.LARGEST)) return [0];
    const gap = Math.ceil(niceGap(room / 100));
    const inside = Array.from({ length: Math.ceil(room / gap) }, (_, k) => k * gap);
    return [...inside, room];
  }

  const nearest = (stops, value) =>
    stops.reduce(
      (best, stop, k) =>
        Math.abs(stop - value) < Math.abs(stops[best] - value) ? k : best,
      0,
    );

  // The smallest of 1, 2 and 5 times a power of ten that is not below `gap`.
  function niceGap(gap) {
    const power = Math.floor(Math.log10(gap));
    const factor = [1, 2, 5, 10].find((f) => Number(`${f}e${power}`) >= gap);
    return Number(`${factor ?? 10}e${power}`);
  }

  // The picture: a frame in pixels, the points in it, and markup of what is seen.

  function frame(width, height, peak, total) {
    const right = width - MARGIN.right;
    const bottom = height - MARGIN.bottom;
    return {
      width,
      height,
      right,
      bottom,
      x: (count) => MARGIN.left + (count / total) * (right - MARGIN.left),
      y: (rate) => bottom - (rate / peak) * (bottom - MARGIN.top),
    };
  }

  const px = (number) => number.toFixed(2);

  const grouped = (count) => count.toLocaleString("en-US");

  // 500K, 1M: long numbers would run into each other.
  const compact = (count) => count.toLocaleString("en-US", { notation: "compact" });

  function ticks(largest, most, least = 0) {
    const gap = Math.max(niceGap(largest / most), least);
    const number = Math.floor((largest / gap) * (1 + 1e-9));
    return { gap, values: Array.from({ length: number + 1 }, (_, k) => k * gap) };
  }

  // Labels of one axis share their exponent and their digits: 0.5e-4, 1.0e-4.
  function rateLabels({ gap, values }) {
    const largest = Math.floor(Math.log10(values.at(-1) * (1 + 1e-9)));
    const exponent = largest < -3 || largest > 3 ? largest : 0;
    const unit = Number(`1e${exponent}`);
    const digits = Math.max(0, -Math.floor(Math.log10((gap / unit) * (1 + 1e-9))));
    const suffix = exponent ? `e${exponent}` : "";
    return values.map((rate) =>
      rate ? (rate / unit).toFixed(digits) + suffix : "0",
    );
  }

  function axes({ width, height, right, bottom, x, y }, peak, total) {
    const rates = ticks(peak, 5);
    const labels = rateLabels(rates);
    const counts = ticks(total, Math.max(2, Math.floor(width / 110)), 1);
    const countLabel = total < 1e6 ? grouped : compact;
    const middle = (MARGIN.top + bottom) / 2;
    const rows = rates.values.map(
      (rate, k) =>
        `<line class="live-grid" x1="${MARGIN.left}" x2="${right}" ` +
        `y1="${px(y(rate))}" y2="${px(y(rate))}"/>` +
        `<text class="live-rate" x="${MARGIN.left - 9}" y="${px(y(rate))}" ` +
        `dy="0.34em">${labels[k]}</text>`,
    );
    const columns = counts.values.map(
      (count) =>
        `<line class="live-tick" x1="${px(x(count))}" x2="${px(x(count))}" ` +
        `y1="${bottom}" y2="${bottom + 5}"/>` +
        `<text class="live-count" x="${px(x(count))}" y="${bottom + 19}">` +
        `${countLabel(count)}</text>`,
    );
    return (
      rows.join("") +
      columns.join("") +
      `<text class="live-axis" transform="translate(13 ${middle}) rotate(-90)">` +
      `learning rate</text>` +
      `<text class="live-axis" x="${px((MARGIN.left + right) / 2)}" ` +
      `y="${height - 6}">optimizer updates</text>`
    );
  }

  // Phases as bands, restarts as dashed lines, unless they are too close together.
  function marks({ bottom, x }, table, length) {
    if (x(length) - x(0) < 6) return "";
    const rows = `y="${MARGIN.top - 10}" height="${bottom - MARGIN.top + 10}"`;
    const bands = table
      .filter(({ name }) => name !== "annealing")
      .map(
        ({ name, start, end }) =>
          `<rect class="live-${name}" x="${px(x(start))}" ` +
          `width="${px(x(end) - x(start))}" ${rows}/>`,
      );
    const starts = table.map(({ start }) => start);
    const restarts = starts
      .filter((start) => start > 0 && start % length === 0)
      .map(
        (start) =>
          `<line class="live-restart" x1="${px(x(start))}" x2="${px(x(start))}" ` +
          `y1="${MARGIN.top - 10}" y2="${bottom}"/>`,
      );
    return bands.join("") + restarts.join("");
  }

  function curve({ x, y, width }, points, total) {
    const corners = points.map(({ count, rate }) => `${px(x(count))} ${px(y(rate))}`);
    const dots = points.map(
      ({ count, rate }) =>
        `<circle class="live-dot" cx="${px(x(count))}" cy="${px(y(rate))}" r="3"/>`,
    );
    const path = corners.join("L");
    return (
      `<path class="live-area" d="M${px(x(0))} ${px(y(0))}L${path}L` +
      `${px(x(total))} ${px(y(0))}Z"/>` +
      `<path class="live-curve" d="M${path}"/>` +
      (total < width / 12 ? dots.join("") : "")
    );
  }

  function phaseItems(table, { cycles, length }) {
    const first = table.filter(({ end }) => end <= length);
    const items = first.map(({ name, start, end }) => ({
      name,
      words: `${name} ${grouped(end - start)}`,
    }));
    return cycles > 1 ? [...items, { name: "restart", words: "restart" }] : items;
  }

  // From here on: the document.

  const byId = (id) => document.getElementById(`live-${id}`);
  const field = (name) => byId(`${name}-field`);
  let drawn = null; // what the picture shows: settings, table, points, view
  let settings = null; // the last ones that the library accepts
  let saving = 0;

  const controlMarkup = ({ name, label, unit }) => `
    <div class="live-control">
      <label for="live-${name}">${label}</label>
      <span class="live-unit" id="live-${name}-unit">${unit}</span>
      <label class="live-unseen" for="live-${name}-field">${label}, exactly</label>
      <input id="live-${name}-field" type="text" autocomplete="off" spellcheck="false"
        aria-describedby="live-${name}-unit live-mistake">
      <input id="live-${name}" type="range" min="0" step="1">
    </div>`;

  const typed = () =>
    schedules.read(
      Object.fromEntries(CONTROLS.map(({ name }) => [name, field(name).value])),
    );

  // What was drawn in place of what was typed.
  function clamped(given) {
    const parts = CONTROLS.filter(({ name }) => settings[name] !== given[name]).map(
      ({ name, label, text }) => `${label.toLowerCase()} ${text(settings[name])}`,
    );
    return parts.length ? ` Drawn with ${parts.join(", ")}.` : "";
  }

  function draw() {
    const given = typed();
    const mistake = schedules.mistake(given);
    settings = mistake ? schedules.fitted(given, settings) : given;
    showSliders();
    for (const { name } of CONTROLS) {
      field(name).setAttribute("aria-invalid", String(!!mistake?.names.includes(name)));
    }
    byId("mistake").textContent = mistake ? mistake.sentence + clamped(given) : "";
    byId("copy").textContent = "Copy";
    drawn = drawing();
    showUnits();
    showPicture();
    showLine(schedules.python(settings));
    if (number(field("at").value) > schedules.total(drawn.table)) {
      field("at").value = stepsText(schedules.total(drawn.table));
    }
    showReading();
  }

  function drawing() {
    const table = schedules.phases(settings);
    const { clientWidth, clientHeight } = byId("chart");
    const sides = [Math.fround(settings.peak), schedules.total(table)];
    const view = frame(clientWidth, clientHeight, ...sides);
    return { settings, table, view, points: schedules.points(table) };
  }

  function showSliders() {
    for (const { name, text, stops } of CONTROLS) {
      const slider = byId(name);
      const along = stops(settings);
      slider.max = along.length - 1;
      slider.value = nearest(along, settings[name]);
      slider.setAttribute("aria-valuetext", text(settings[name]));
    }
  }

  function showUnits() {
    const { cycles, length } = settings;
    const all = grouped(cycles * length);
    byId("length-unit").textContent = cycles > 1 ? "updates of each cycle" : "updates";
    byId("cycles-unit").textContent = cycles > 1 ? `${all} in all` : "1: no restarts";
  }

  function showPicture() {
    byId("phases").replaceChildren();
    const { table, view, points } = drawn;
    const total = schedules.total(table);
    byId("chart").setAttribute("viewBox", `0 0 ${view.width} ${view.height}`);
    byId("picture").innerHTML =
      marks(view, table, settings.length) +
      axes(view, Math.fround(settings.peak), total) +
      curve(view, points, total) +
      `<g id="live-cross"></g>`;
    const items = phaseItems(table, settings);
    byId("phases").replaceChildren(...items.map(phaseItem));
    byId("description").textContent =
      `Peak ${rateText(settings.peak)}, floor ${rateText(settings.floor)}, ` +
      `cycles ${settings.cycles}: ${items.map(({ words }) => words).join(", ")}`;
  }

  function phaseItem({ name, words }) {
    const item = document.createElement("li");
    item.className = `live-${name}`;
    item.textContent = words;
    return item;
  }

  // One line, which may break only after its first parenthesis and at its spaces.
  function showLine(line) {
    const words = line.split(/(?<=^oc\.\w+\()|(?= )/).map(unbroken);
    byId("line").replaceChildren(...words);
  }

  function unbroken(word) {
    const span = document.createElement("span");
    span.textContent = word.trimStart();
    const gap = word.startsWith(" ") ? " " : document.createElement("wbr");
    const whole = document.createDocumentFragment();
    whole.append(gap, span);
    return whole;
  }

  function showReading() {
    const count = number(field("at").value);
    const last = schedules.total(drawn.table);
    const known = Number.isInteger(count) && count >= 0 && count <= last;
    field("at").setAttribute("aria-invalid", String(!known));
    byId("reading").hidden = !known;
    byId("cross")?.toggleAttribute("hidden", !known);
    if (known) showReadingAt(count, drawn);
  }

  function showReadingAt(count, { table, view }) {
    const rate = schedules.value(table, count);
    const [x, y] = [view.x(count), view.y(rate)];
    const output = byId("reading");
    output.textContent = `${float32Text(rate)} at count ${grouped(count)}`;
    const half = output.offsetWidth / 2;
    const center = Math.min(Math.max(x, MARGIN.left + half), view.width - half);
    output.style.left = `${center - half}px`;
    byId("at").max = schedules.total(table);
    byId("at").value = count;
    byId("at").setAttribute("aria-valuetext", output.textContent);
    byId("cross").innerHTML =
      `<line x1="${px(x)}" x2="${px(x)}" ` +
      `y1="${MARGIN.top - 10}" y2="${view.bottom}"/>` +
      `<circle cx="${px(x)}" cy="${px(y)}" r="5"/>`;
  }

  function readAt(count) {
    field("at").value = stepsText(count);
    showReading();
  }

  function readUnder(event) {
    const { view, table } = drawn;
    const box = byId("chart").getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (view.right - MARGIN.left);
    const total = schedules.total(table);
    readAt(Math.round(Math.min(Math.max(share, 0), 1) * total));
  }

  async function copy() {
    try {
      await navigator.clipboard.writeText(byId("line").textContent);
      byId("copy").textContent = "Copied";
    } catch {
      // The browser does not allow it: select the line, so that the reader can copy it.
      getSelection().selectAllChildren(byId("line"));
      byId("copy").textContent = "Press Ctrl+C";
    }
  }

  // Write what is typed to the address. Wait until typing stops, because browsers limit
  // how often the address may change.
  function save() {
    clearTimeout(saving);
    saving = setTimeout(() => {
      const texts = CONTROLS.map(({ name }) => [name, field(name).value]);
      history.replaceState(null, "", `#${new URLSearchParams(texts)}`);
    }, 300);
  }

  function load() {
    const texts = new URLSearchParams(location.hash.slice(1));
    for (const { name } of CONTROLS) {
      if (texts.has(name)) field(name).value = texts.get(name);
    }
    draw();
  }

  function start() {
    byId("controls").innerHTML = CONTROLS.map(controlMarkup).join("");
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    settings = Object.fromEntries(
      CONTROLS.map(({ name, initial }) => [name, number(initial)]),
    );
    for (const { name, text, initial, stops } of CONTROLS) {
      field(name).value = initial;
      field(name).addEventListener("input", () => (draw(), save()));
      byId(name).addEventListener("input", ({ target }) => {
        field(name).value = text(stops(settings)[target.value]);
        draw();
        save();
      });
    }
    field("at").value = "5_250";
    field("at").addEventListener("input", showReading);
    byId("at").addEventListener("input", ({ target }) => readAt(Number(target.value)));
    byId("chart").addEventListener("pointermove", readUnder);
    byId("chart").addEventListener("pointerdown", readUnder);
    byId("copy").addEventListener("click", copy);
    addEventListener("hashchange", load);
    document.getElementById("live").hidden = false;
    load();
    new ResizeObserver(draw).observe(byId("chart").parentElement);
  }

  start();
  return { drawn: () => drawn };
})();
