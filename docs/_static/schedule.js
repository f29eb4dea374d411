"use strict";

// The schedule behind the page, without the page: from settings to phases, to values
// and to Python. Settings are numbers: `peak` and `floor` are rates; `length`, `warmup`
// and `hold` count the updates of a cycle; `cycles` is how often there is one.
//
// A classic script, not a module, so that the page also works when opened as a file.

const schedules = (() => {
  const LARGEST = 2 ** 31 - 1; // the last count of the library
  const SMALLEST_RATE = 2 ** -126; // the smallest normal float32
  const LARGEST_RATE = (2 - 2 ** -23) * 2 ** 126; // half of the largest float32
  const MOST_CYCLES = 1000; // more could not be told apart in the picture

  // The table: one row for each phase that has any steps.
  const phases = (settings) =>
    Array.from({ length: settings.cycles }, (_, k) =>
      cycle(settings, k * settings.length),
    ).flat();

  function cycle({ peak, floor, length, warmup, hold }, start) {
    const [top, low] = [Math.fround(peak), Math.fround(floor)]; // as they are stored
    const warm = start + warmup;
    const held = warm + hold;
    return [
      { name: "warm-up", start, end: warm, from: 0, to: top },
      { name: "hold", start: warm, end: held, from: top, to: top },
      { name: "annealing", start: held, end: start + length, from: top, to: low },
    ].filter((phase) => phase.start < phase.end);
  }

  const total = (table) => table.at(-1).end;

  // Where two phases meet, the value is that of the second. Past the end the last value
  // holds.
  function value(table, count) {
    const now = Math.min(Math.max(count, 0), total(table));
    return valueIn(table.find((phase) => now < phase.end) ?? table.at(-1), now);
  }

  // Measured from the nearer end of the phase, so that both ends are exact. The library
  // does the same in float32; here the numbers are doubles.
  function valueIn({ name, start, end, from, to }, count) {
    let gone = (count - start) / (end - start);
    let left = (end - count) / (end - start);
    if (name === "annealing") [gone, left] = eased(gone, left);
    return gone < left ? from + (to - from) * gone : to + (from - to) * left;
  }

  // The squared sine of half the angle is the weight of the farther end. 1 - cos would
  // cancel near the ends.
  function eased(gone, left) {
    const small = Math.sin((Math.PI / 2) * Math.min(gone, left)) ** 2;
    return gone < left ? [small, 1 - small] : [1 - small, small];
  }

  // Every count of a short schedule. Of a long schedule, the ends of every phase and
  // evenly spaced counts between them.
  function points(table, most = 1200) {
    const share = Math.max(8, Math.ceil(most / table.length));
    const last = total(table);
    const inside = table.flatMap((phase) => {
      const steps = phase.end - phase.start;
      const few = phase.name === "annealing" ? share : 2;
      return evenly(phase.start, phase.end - 1, last < most ? steps : few).map(
        (count) => ({ count, rate: valueIn(phase, count) }),
      );
    });
    return [...inside, { count: last, rate: value(table, last) }];
  }

  function evenly(first, last, number) {
    const gaps = Math.min(number - 1, last - first);
    if (gaps < 1) return [first];
    return Array.from({ length: gaps + 1 }, (_, k) =>
      Math.round(first + ((last - first) * k) / gaps),
    );
  }

  // If the library would refuse the settings: a sentence, and the names of the settings
  // that are wrong. Otherwise null.
  function mistake(settings) {
    const { peak, floor, length, cycles, warmup, hold } = settings;
    if (!(peak >= SMALLEST_RATE && peak <= LARGEST_RATE)) {
      return refusal(["peak"], "The peak must be from 1.2e-38 to 1.7e38.");
    }
    if (floor !== 0 && !(floor >= SMALLEST_RATE && floor <= LARGEST_RATE)) {
      return refusal(["floor"], "The floor must be 0 or from 1.2e-38 to 1.7e38.");
    }
    if (Math.fround(floor) > Math.fround(peak)) {
      return refusal(
        ["floor", "peak"],
        `Floor ${rateText(floor)} is above peak ${rateText(peak)}; the floor is a ` +
          `rate, not a ratio: for a tenth of the peak write ${tenth(peak)}.`,
      );
    }
    for (const [name, words, least, largest] of [
      ["length", "The length", 1, LARGEST],
      ["warmup", "The warm-up", 0, LARGEST],
      ["hold", "The hold", 0, LARGEST],
      ["cycles", "The number of cycles", 1, MOST_CYCLES],
    ]) {
      if (!isWhole(settings[name], least, largest)) {
        const range = `from ${least} to ${largest.toLocaleString("en-US")}`;
        return refusal([name], `${words} must be a whole number ${range}.`);
      }
    }
    if (warmup + hold > length) {
      const names = ["warmup", "hold", "length"].filter((name) => settings[name] > 0);
      const parts = [
        warmup && `warm-up ${stepsText(warmup)}`,
        hold && `hold ${stepsText(hold)}`,
      ];
      const sum = parts.filter(Boolean).join(" + ");
      return refusal(
        names,
        `${sum[0].toUpperCase() + sum.slice(1)} is more than the length ` +
          `${stepsText(length)}.`,
      );
    }
    if (cycles * length > LARGEST) {
      const all = `${cycles} cycles of ${stepsText(length)} updates`;
      return refusal(["cycles", "length"], `${all} do not fit in 2**31 - 1 updates.`);
    }
    return null;
  }

  // The nearest settings that the library accepts. What is not a number stays as it was.
  function fitted(settings, before) {
    const within = (name, least, largest) => {
      const value = Number.isNaN(settings[name]) ? before[name] : settings[name];
      return Math.min(Math.max(value, least), largest);
    };
    const whole = (name, least, largest) => Math.round(within(name, least, largest));
    const peak = within("peak", SMALLEST_RATE, LARGEST_RATE);
    const floor = within("floor", 0, peak);
    const length = whole("length", 1, LARGEST);
    const warmup = whole("warmup", 0, length);
    return {
      peak,
      floor: floor < SMALLEST_RATE ? 0 : floor,
      length,
      cycles: whole("cycles", 1, Math.min(MOST_CYCLES, Math.floor(LARGEST / length))),
      warmup,
      hold: whole("hold", 0, length - warmup),
    };
  }

  const refusal = (names, sentence) => ({ names, sentence });

  const isWhole = (number, least, largest) =>
    Number.isInteger(number) && number >= least && number <= largest;

  const tenth = (rate) => rateText(Number((rate / 10).toPrecision(15)));

  // The shortest call that builds the schedule, with no argument that is a default.
  function python(settings) {
    const { peak, floor, length, cycles, warmup, hold } = settings;
    if (cycles > 1 && hold > 0) return joined(settings);
    if (cycles > 1) {
      return call("cosine_restarts_schedule", {
        peak_value: rateText(peak),
        cycle_steps: stepsText(length),
        num_cycles: stepsText(cycles),
        end_value: floor && rateText(floor),
        cycle_warmup_steps: warmup && stepsText(warmup),
      });
    }
    if (warmup > 0 || hold > 0) {
      return call("warmup_cosine_annealing_schedule", {
        peak_value: rateText(peak),
        total_steps: stepsText(length),
        warmup_steps: stepsText(warmup),
        hold_steps: hold && stepsText(hold),
        end_value: floor && rateText(floor),
      });
    }
    return call("cosine_annealing_schedule", {
      init_value: rateText(peak),
      decay_steps: stepsText(length),
      end_value: floor && rateText(floor),
    });
  }

  function call(builder, values) {
    const given = Object.entries(values).filter(([, text]) => text);
    return `oc.${builder}(${given.map((pair) => pair.join("=")).join(", ")})`;
  }

  // No builder has a hold in each cycle, so the parts of one cycle are joined many
  // times.
  function joined({ peak, floor, length, cycles, warmup, hold }) {
    const [top, low] = [rateText(peak), rateText(floor)];
    const decay = length - warmup - hold;
    const parts = [
      warmup && `oc.linear(0.0, ${top}, steps=${stepsText(warmup)})`,
      `oc.constant(${top}, steps=${stepsText(hold)})`,
      decay && `oc.cosine(${top}, ${low}, steps=${stepsText(decay)})`,
    ];
    return `oc.join(*[${parts.filter(Boolean).join(", ")}] * ${stepsText(cycles)})`;
  }

  // The shortest Python float, 0.1 or 3e-4.
  function rateText(rate) {
    const plain = Number.isInteger(rate) ? `${rate}.0` : String(rate);
    const scientific = rate.toExponential().replace("+", "");
    return scientific.length < plain.length ? scientific : plain;
  }

  // The float32 nearest to a value, in the fewest digits that read back as the same
  // float32.
  function float32Text(value) {
    const stored = Math.fround(value);
    let digits = 1;
    while (Math.fround(Number(stored.toPrecision(digits))) !== stored) digits += 1;
    return rateText(Number(stored.toPrecision(digits)));
  }

  // A Python int, 10_000.
  const stepsText = (steps) => String(steps).replace(/\B(?=(\d{3})+$)/g, "_");

  const PYTHON_NUMBER = /^\s*[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i;
  const GROUPED = /^\s*\d{1,3}(,\d{3})+\s*$/; // 10,000, as this page writes it too

  // What was typed, as Python would read it. NaN if it is not a number.
  const number = (text) =>
    PYTHON_NUMBER.test(text) || GROUPED.test(text)
      ? Number(text.replace(/[_,]/g, ""))
      : NaN;

  // 5% as 0.05. NaN if it is not a percentage.
  const percentage = (text) =>
    /%\s*$/.test(text) ? number(text.replace(/\s*%\s*$/, "")) / 100 : NaN;

  // All settings, from what was typed. A percentage is one of the peak or the length.
  function read(texts) {
    const settings = Object.fromEntries(
      Object.entries(texts).map(([name, text]) => [name, number(text)]),
    );
    for (const [name, whole] of [
      ["floor", "peak"],
      ["warmup", "length"],
      ["hold", "length"],
    ]) {
      const share = percentage(texts[name]);
      if (Number.isNaN(share)) continue;
      const part = Number((settings[whole] * share).toPrecision(15));
      settings[name] = whole === "length" ? Math.round(part) : part;
    }
    return settings;
  }

  return {
    LARGEST,
    phases,
    total,
    value,
    points,
    mistake,
    fitted,
    python,
    number,
    read,
    rateText,
    float32Text,
    stepsText,
  };
})();
