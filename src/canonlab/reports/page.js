/* Draws the learning curves from the data in the page. Every place for a chart says what it shows:
   data-section (index), data-kind ("share", "value" or "loss") and, but for the loss, data-metric. */
"use strict";

(() => {
  const root = document.documentElement;

  // For tests: how many errors there were, and how many charts have been drawn.
  root.dataset.errors = 0;
  root.dataset.charts = 0;
  const failed = () => root.dataset.errors++;
  for (const event of ["error", "unhandledrejection", "securitypolicyviolation"]) window.addEventListener(event, failed);

  // Plotly reads text as a subset of HTML.
  const escape = (text) => String(text).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

  function curve(run, kind, metric) {
    return kind === "loss" ? [run.lossSteps, run.loss] : [run.steps, run.metrics[metric]];
  }

  /** Math.max(...values), but for any number of values. */
  const greatest = (values) => values.reduce((most, value) => Math.max(most, value), -Infinity);

  /** Mean, least and greatest value at every step that all curves have: [{step, mean, low, high}]. */
  function average(curves) {
    const [first, ...rest] = curves.map(([steps, values]) => new Map(steps.map((step, i) => [step, values[i]])));
    return [...first]
      .map(([step, value]) => ({ step, values: [value, ...rest.map((other) => other.get(step) ?? null)] }))
      .filter(({ values }) => !values.includes(null))
      .map(({ step, values }) => ({
        step,
        mean: values.reduce((sum, value) => sum + value, 0) / values.length,
        low: -greatest(values.map((value) => -value)),
        high: greatest(values),
      }));
  }

  /** A share in percent, as in the tables: only exactly 0 and 1 read 0.0% and 100.0%. */
  function percent(share) {
    const text = (100 * share).toFixed(1) + "%";
    if (share > 0 && text === "0.0%") return "&lt;0.1%";
    return share < 1 && text === "100.0%" ? "&gt;99.9%" : text;
  }

  /** The lines of a row of the table: one for each seed, and the mean when several that have it are finished. */
  function traces(row, kind, metric, colour) {
    const show = (value) => (kind === "share" ? percent(value) : value.toPrecision(4));
    const at = (step) => `step ${step.toLocaleString("en")}`;
    const line = (x, y, text, thick) => ({
      x,
      y,
      text,
      mode: x.length === 1 ? "markers" : "lines",
      hovertemplate: `<b>${escape(row.label)}</b><br>%{text}<extra></extra>`,
      opacity: thick ? 1 : 0.5,
      line: { color: colour, width: thick ? 2.4 : 1, dash: row.dash },
    });
    // A run may lack a metric that others of its row have.
    const measured = row.runs.filter((run) => curve(run, kind, metric)[1].some((value) => value !== null));
    const finished = measured.filter((run) => run.finished);
    const only = finished.length === 1 ? finished[0] : measured.length === 1 ? measured[0] : null;
    const lines = row.runs.map((run) => {
      const [steps, values] = curve(run, kind, metric);
      const text = values.map((value, i) => value === null ? "" : `seed ${run.seed}, ${at(steps[i])}: ${show(value)}`);
      return line(steps, values, text, run === only);
    });
    if (finished.length > 1) {
      const means = average(finished.map((run) => curve(run, kind, metric)));
      const text = means.map(({ step, mean, low, high }) =>
        `mean of ${finished.length}, ${at(step)}: ${show(mean)} (${show(low)} to ${show(high)})`);
      lines.push(line(means.map((m) => m.step), means.map((m) => m.mean), text, true));
    }
    return lines;
  }

  function layout(kind, lines) {
    const last = greatest(lines.map((line) => greatest(line.x)));
    const most = greatest(lines.map((line) => greatest(line.y)));
    const least = -greatest(lines.map((line) => greatest(line.y.filter((value) => value > 0).map((value) => -value))));
    const y =
      kind === "share" ? { range: [-0.02, 1.04], tickformat: ".0%", dtick: 0.25 }
      : kind === "loss" && most > 100 * least ? { type: "log", dtick: 1 }
      : { rangemode: "tozero" };
    return {
      height: 232,
      margin: { l: 46, r: 12, t: 6, b: 40 },
      paper_bgcolor: "transparent",
      plot_bgcolor: "transparent",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12 },
      showlegend: false,
      hovermode: "closest",
      hoverlabel: { align: "left" },
      dragmode: false, // a finger that moves over a chart scrolls the page
      xaxis: {
        title: { text: "training step", standoff: 8 },
        range: [0, 1.02 * last],
        nticks: 6,
        fixedrange: true,
        zeroline: false,
      },
      yaxis: { fixedrange: true, zeroline: false, ...y },
    };
  }

  /** What the filters ask for, such as {canon: "ABCD"}; a filter that is set to "all" is left out. */
  function wanted() {
    const form = document.getElementById("filters");
    return form ? Object.fromEntries([...new FormData(form)].filter(([, value]) => value)) : {};
  }

  /** Whether the filters leave an element out: by what it says of itself, or a comparison by both of its sides. */
  function leftOut({ dataset }, asked) {
    const differs = (key, value) => value !== undefined && key in dataset && dataset[key] !== value;
    const unlike = (side) => differs(`${side}Model`, asked.model) || differs(`${side}Canon`, asked.canon);
    return Object.entries(asked).some(([name, value]) => differs(name, value)) || ["first", "second"].every(unlike);
  }

  /** Hide what the filters leave out, and draw the charts anew without it. */
  function filter({ sections, capacity, exposures }) {
    const asked = wanted();
    for (const part of document.querySelectorAll("[data-task], [data-model], [data-size]")) {
      part.hidden = leftOut(part, asked);
    }
    for (const place of document.querySelectorAll(".chart[data-section]")) draw(place, sections);
    for (const place of document.querySelectorAll(".capacity")) drawCapacity(place, capacity);
    for (const place of document.querySelectorAll(".exposures")) drawExposures(place, exposures);
  }

  function draw(place, sections) {
    const { section, kind, metric } = place.dataset;
    if (place.closest("[hidden]")) return;
    const style = getComputedStyle(root);
    const asked = Object.entries(wanted()).filter(([name]) => name !== "task");
    const rows = sections[section].rows.filter((row) => asked.every(([name, value]) => row[name] === value));
    if (kind === "speed") {
      Plotly.purge(place);
      place.textContent = "";
      place.classList.remove("empty");
      drawSpeed(place, rows, style);
      return;
    }
    const lines = rows.flatMap((row) =>
      traces(row, kind, metric, style.getPropertyValue(`--series-${row.colour}`).trim()));
    Plotly.purge(place);
    place.classList.toggle("empty", lines.every((line) => line.y.every((value) => value === null)));
    place.textContent = "";
    if (place.classList.contains("empty")) {
      place.textContent = rows.length ? "Nothing recorded yet." : "Nothing left by the filters.";
      return;
    }
    // Means lie above the lines of single seeds.
    lines.sort((a, b) => a.line.width - b.line.width);
    Plotly.newPlot(place, lines, layout(kind, lines), { displayModeBar: false, responsive: true })
      .then(() => root.dataset.charts++);
  }

  /** After how many steps each difficulty is learnt: a line a row and threshold. */
  function drawSpeed(place, rows, style) {
    const lines = rows.flatMap((row) =>
      [...new Set(row.speed.map((found) => found.threshold))].map((threshold) => {
        const found = row.speed.filter((each) => each.threshold === threshold && each.median !== null);
        const colour = style.getPropertyValue(`--series-${row.colour}`).trim();
        return {
          x: found.map((each) => String(each.level)),
          y: found.map((each) => each.median),
          text: found.map((each) => `<b>${escape(row.label)}</b><br>${escape(each.text)}`),
          hovertemplate: "%{text}<extra></extra>",
          mode: "lines+markers",
          line: { color: colour, width: 1.5, dash: row.dash },
          marker: { size: 8, color: threshold > 0.5 ? colour : style.getPropertyValue("--paper").trim(),
            line: { color: colour, width: 1.5 } },
        };
      })).filter((line) => line.x.length);
    if (!lines.length) {
      place.textContent = "No run reached half of the answers at any difficulty.";
      place.classList.add("empty");
      return;
    }
    const all = [...new Set(rows.flatMap((row) => row.speed.map((found) => found.level)))].sort((a, b) => a - b);
    const base = layout("value", [{ x: [1], y: [1] }]);
    Plotly.newPlot(place, lines, {
      ...base,
      margin: { ...base.margin, l: 56 },
      xaxis: { ...base.xaxis, title: { text: "difficulty", standoff: 8 }, type: "category", categoryarray: all.map(String),
        range: [-0.5, all.length - 0.5] },
      yaxis: { fixedrange: true, zeroline: false, rangemode: "tozero", title: { text: "step", standoff: 4 } },
    }, { displayModeBar: false, responsive: true }).then(() => root.dataset.charts++);
  }

  /** Bits against parameters on logarithmic scales, with lines of equal bits per parameter. */
  function drawCapacity(place, { lines, dots }) {
    const asked = Object.entries(wanted()).filter(([name]) => name !== "task");
    dots = dots.filter((dot) => asked.every(([name, value]) => dot[name] === value));
    Plotly.purge(place);
    place.classList.toggle("empty", !dots.length);
    place.textContent = "";
    if (!dots.length) {
      place.textContent = asked.length ? "Nothing left by the filters." : "No run shows any knowledge yet.";
      return;
    }
    const style = getComputedStyle(root);
    const soft = style.getPropertyValue("--soft").trim();
    const xs = dots.map((dot) => dot.x), ys = dots.flatMap((dot) => [dot.y, dot.most]);
    const [left, right] = [-greatest(xs.map((x) => -x)) / 1.6, greatest(xs) * 1.6];
    const [bottom, top] = [-greatest(ys.map((y) => -y)) / 1.6, greatest(ys) * 1.25];
    const guides = lines.map((bits) => ({
      x: [left, right],
      y: [bits * left, bits * right],
      mode: "lines",
      hoverinfo: "skip",
      line: { color: soft, width: 1, dash: "dot" },
    }));
    const people = [...new Set(dots.map((dot) => dot.people))].sort((a, b) => a - b);
    const tops = people.map((count) => {
      const group = dots.filter((dot) => dot.people === count);
      return {
        x: [left, right],
        y: [group[0].most, group[0].most],
        mode: "lines",
        hoverinfo: "skip",
        line: { color: soft, width: 1 },
      };
    });
    const symbols = ["circle", "square", "diamond", "triangle-up", "cross", "x"];
    const marks = people.map((count, i) => {
      const group = dots.filter((dot) => dot.people === count);
      return {
        x: group.map((dot) => dot.x),
        y: group.map((dot) => dot.y),
        error_y: { type: "data", array: group.map((dot) => dot.error ?? 0), thickness: 1, width: 2 },
        mode: "markers",
        marker: {
          symbol: symbols[i % symbols.length],
          size: 9,
          color: group.map((dot) => style.getPropertyValue(`--series-${dot.colour}`).trim()),
        },
        text: group.map((dot) => `<b>${escape(dot.label)}</b><br>${escape(dot.text)}`),
        hovertemplate: "%{text}<extra></extra>",
      };
    });
    const note = (text, x, y, extra) =>
      ({ text, x: Math.log10(x), y: Math.log10(y), showarrow: false, font: { size: 11, color: soft }, ...extra });
    // A guide's label stands where the guide leaves the chart.
    const labels = lines
      .map((bits) => {
        const x = Math.min(right, top / bits);
        const inside = x > left && bits * x > bottom;
        return inside ? note(`${bits} bits`, x, bits * x, { xanchor: "right", yanchor: "bottom" }) : null;
      })
      .filter(Boolean);
    const limits = people.map((count) =>
      note(`all about ${count.toLocaleString("en")} people`, left, dots.find((dot) => dot.people === count).most,
        { xanchor: "left", yanchor: "bottom" }));
    const { margin, paper_bgcolor, plot_bgcolor, font, showlegend, hovermode, hoverlabel, dragmode } =
      layout("value", [{ x: [1], y: [1] }]);
    /** 1, 2 and 5 times the powers of ten in a range, or the powers alone where it is wide. */
    const ticks = (low, high) => {
      const powers = Array.from({ length: 12 }, (_, power) => 10 ** power);
      const steps = high / low > 1000 ? [1] : [1, 2, 5];
      const values = powers.flatMap((power) => steps.map((step) => step * power)).filter((x) => x >= low && x <= high);
      return { tickvals: values, ticktext: values.map((x) => x.toLocaleString("en", { notation: "compact" })) };
    };
    const axis = (text, low, high) => ({
      type: "log",
      range: [Math.log10(low), Math.log10(high)],
      title: { text, standoff: 8 },
      fixedrange: true,
      zeroline: false,
      ...ticks(low, high),
    });
    Plotly.newPlot(place, [...guides, ...tops, ...marks], {
      paper_bgcolor, plot_bgcolor, font, showlegend, hovermode, hoverlabel, dragmode,
      margin: { ...margin, l: 56, t: 20 }, // a guide's label may stand above the top
      height: 380,
      annotations: [...labels, ...limits],
      xaxis: axis("parameters", left, right),
      yaxis: axis("bits", bottom, top),
    }, { displayModeBar: false, responsive: true }).then(() => root.dataset.charts++);
  }

  /** The most bits per parameter against exposures: a line for each architecture and text, a dot for each seed. */
  function drawExposures(place, { lines, published }) {
    const asked = Object.entries(wanted()).filter(([name]) => name === "model" || name === "canon");
    lines = lines.filter((line) => asked.every(([name, value]) => line[name] === value));
    Plotly.purge(place);
    place.classList.toggle("empty", !lines.length);
    place.textContent = lines.length ? "" : "Nothing left by the filters.";
    if (!lines.length) return;
    const style = getComputedStyle(root);
    const soft = style.getPropertyValue("--soft").trim();
    const xs = [...new Set(lines.flatMap((line) => line.points.map((point) => point.x)))].sort((a, b) => a - b);
    const [left, right] = [xs[0] / 1.3, xs[xs.length - 1] * 1.3];
    // A guide far above all dots would leave them no room.
    const most = greatest(lines.flatMap((line) => line.points.flatMap((point) => point.seeds)));
    published = published.filter(([, bits]) => bits <= 3 * most);
    const guides = published.map(([, bits]) => ({
      x: [left, right],
      y: [bits, bits],
      mode: "lines",
      hoverinfo: "skip",
      line: { color: soft, width: 1, dash: "dot" },
    }));
    const drawn = lines.flatMap(({ label, colour, dash, points }) => {
      const color = style.getPropertyValue(`--series-${colour}`).trim();
      const hovertemplate = `<b>${escape(label)}</b><br>%{text}<extra></extra>`;
      // A single mean is a short line, so that it has its series' dashes too.
      const ends = points.length > 1 ? [1] : [1 / 1.08, 1.08];
      const means = points.flatMap((point) => ends.map((end) => ({ ...point, x: point.x * end })));
      const seeds = points.flatMap((point) => point.seeds.map((y) => ({ x: point.x, y })));
      return [
        {
          x: means.map((point) => point.x),
          y: means.map((point) => point.y),
          text: means.map((point) => escape(point.text)),
          mode: "lines",
          hovertemplate,
          line: { color, width: 2, dash },
        },
        {
          x: seeds.map((seed) => seed.x),
          y: seeds.map((seed) => seed.y),
          text: seeds.map((seed) => `one seed: ${seed.y.toPrecision(3)}`),
          mode: "markers",
          hovertemplate,
          marker: { color, size: 6, opacity: 0.7 },
        },
      ];
    });
    const base = layout("value", [{ x: [1], y: [1] }]);
    Plotly.newPlot(place, [...guides, ...drawn], {
      ...base,
      height: 380,
      margin: { ...base.margin, l: 56 },
      annotations: published.map(([count, bits]) => ({
        text: `published peak after ${count.toLocaleString("en")}`,
        x: Math.log10(left),
        y: bits,
        xanchor: "left",
        yanchor: "bottom",
        showarrow: false,
        font: { size: 11, color: soft },
      })),
      xaxis: { ...base.xaxis, type: "log", title: { text: "exposures", standoff: 8 },
        range: [Math.log10(left), Math.log10(right)], tickvals: xs, ticktext: xs.map((x) => x.toLocaleString("en")) },
      yaxis: { ...base.yaxis, title: { text: "bits per parameter", standoff: 8 } },
    }, { displayModeBar: false, responsive: true }).then(() => root.dataset.charts++);
  }

  /** A link to what stands behind a number opens the boxes that it stands in. */
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let box = target.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    target.scrollIntoView();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const data = JSON.parse(document.getElementById("data").textContent);
    window.addEventListener("hashchange", reveal);
    reveal();
    document.getElementById("filters")?.addEventListener("change", () => filter(data));
    // Charts have the page's colours of when they are drawn.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => filter(data));
    filter(data);
  });
})();
