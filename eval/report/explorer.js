// Histograms with movable limits: every limit is applied to every row again as one is moved.
// In: the JSON of `v2t_eval.curate.page`. A row has one code a column: 2i + 1 is the edge i itself, 2i lies between the
// edges i - 1 and i, 255 is not measured (which no limit lets pass), 254 not compared (which each lets pass).
"use strict";
(() => {
  const UNMEASURED = 255, UNKNOWN = 254, SHOWN = 4; // clips on each side of a limit
  const STEPS = 1000; // of a slider
  const SVG = "http://www.w3.org/2000/svg";
  const [WIDE, HIGH] = [400, 80];

  const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const count = (number) => number.toLocaleString("en-US");
  const short = (value) => (Math.abs(value) >= 1e4 || value === 0 || Number.isInteger(value)
    ? count(Math.round(value)) : String(Number(value.toPrecision(4))));

  function make(kind, className, text) {
    const node = document.createElement(kind);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function drawn(kind, attributes) {
    const node = document.createElementNS(SVG, kind);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }

  function explore(box) {
    const data = JSON.parse(box.querySelector("script").textContent);
    const seconds = new Float32Array(bytes(data.seconds).buffer);
    const total = seconds.length;
    const columns = data.columns.map((column) => ({ ...column, codes: bytes(column.codes) }));
    const rows = box.closest("section").querySelector("table");
    const alive = new Uint8Array(total), before = new Uint8Array(total);

    // ---- arithmetic: as `v2t_eval.curate.query.ask`

    const hours = (chosen) => {
      let sum = 0;
      for (let n = 0; n < total; n++) if (chosen[n]) sum += seconds[n];
      return sum / 3600;
    };

    function taken(column, rule, limit, isOut) { // the line of a rule in the funnel
      let out = 0, alone = 0, left = 0, outSeconds = 0, leftSeconds = 0;
      for (let n = 0; n < total; n++) {
        if (isOut(column.codes[n])) {
          alone++;
          if (!alive[n]) continue;
          out++;
          outSeconds += seconds[n];
          alive[n] = 0;
        } else if (alive[n]) {
          left++;
          leftSeconds += seconds[n];
        }
      }
      return { rule, limit, out, alone, left, outHours: outSeconds / 3600, leftHours: leftSeconds / 3600 };
    }

    function funnel() {
      alive.fill(1);
      const found = [];
      for (const column of columns) {
        const { name, least, most } = column;
        if (least !== null) {
          const code = 2 * least + 1;
          found.push(taken(column, `${name}.least`, text(column, "least"), (one) => one < code));
        }
        if (most !== null) {
          const code = 2 * most + 1;
          found.push(taken(column, `${name}.most`, text(column, "most"), (one) => one > code && one < UNKNOWN));
        }
        if (least !== null || most !== null) {
          if (column.codes.includes(UNMEASURED)) {
            found.push(taken(column, `${name}.unmeasured`, "–", (one) => one === UNMEASURED));
          }
        }
      }
      return found;
    }

    function text(column, side) { // a limit as the command's own table says it
      const index = column[side], value = short(column.edges[index]);
      const asked = column.asked[side];
      return index === column.first[side] && typeof asked === "string" ? `${asked} = ${value}` : value;
    }

    // ---- the table, the line above it, the command

    const all = { clips: total, hours: hours(before.fill(1)) };
    const kept = make("p", "kept");
    kept.setAttribute("role", "status");
    const command = make("code");
    const reset = make("button", "", "Back to the recipe");
    reset.type = "button";
    const bar = make("div", "limits-bar");
    const line = make("p", "line command");
    line.append("The same by ", command);
    bar.append(kept, reset);

    function showFunnel(found) {
      const cells = found.map((one) => [one.rule, one.limit, count(one.out), one.outHours.toFixed(3), count(one.alone),
        count(one.left), one.leftHours.toFixed(3)]);
      cells.unshift(["all clips", "–", "–", "–", "–", count(all.clips), all.hours.toFixed(3)]);
      const heads = [...rows.tHead.rows[0].cells];
      for (const body of [...rows.tBodies]) body.remove();
      for (const line of cells) {
        const body = rows.createTBody(), row = body.insertRow();
        line.forEach((value, column) => {
          const cell = make(column ? "td" : "th", heads[column].classList.contains("right") ? "right" : "", value);
          cell.dataset.label = heads[column].textContent;
          row.append(cell);
        });
      }
    }

    function showKept(found) {
      const last = found.at(-1) ?? { left: all.clips, leftHours: all.hours };
      const share = all.clips ? (100 * last.left / all.clips).toFixed(1) : "0";
      kept.textContent = `${count(last.left)} of ${count(all.clips)} clips are in, ${share} %: ` +
        `${last.leftHours.toFixed(2)} of ${all.hours.toFixed(2)} hours`;
      const moved = columns.flatMap((column) => ["least", "most"].filter((side) => column[side] !== column.first[side])
        .map((side) => `--set limits.${column.name}.${side}=${column[side] === null ? "null" : column.edges[column[side]]}`));
      command.textContent = [data.command, ...moved].join(" ");
      reset.disabled = moved.length === 0;
    }

    // ---- a column: histogram, sliders, clips at the limits

    function panel(column) {
      const node = make("article", "card limits");
      const head = make("div", "head");
      const svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", class: "bars limits-bars" });
      svg.setAttribute("aria-hidden", "true");
      const bars = column.bars.map(([, , from, to]) => {
        const place = { x: from * WIDE, width: Math.max((to - from) * WIDE - 0.6, 0.8) };
        const [whole, inside] = [drawn("rect", { ...place, class: "all" }), drawn("rect", { ...place, class: "in" })];
        svg.append(whole, inside);
        return [whole, inside];
      });
      head.append(make("h3", "", column.name));
      node.append(head, make("p", "muted", column.says), svg);
      const ends = make("p", "ends drawn-text");
      for (const edge of new Set([column.edges[0], column.edges.at(-1)])) ends.append(make("span", "", short(edge)));
      node.append(ends);
      const made = { node, column, sides: {} };
      for (const side of ["least", "most"]) {
        const mark = drawn("line", { y1: 0, y2: HIGH, class: "limit" });
        const shade = drawn("rect", { y: 0, height: HIGH, class: "zone" });
        const label = make("label", "limit-row");
        const slider = make("input");
        const value = make("output", "limit-value");
        const none = make("button", "", "×");
        none.type = "button";
        none.title = "No limit";
        none.setAttribute("aria-label", `No limit: ${column.name} at ${side}`);
        slider.type = "range";
        [slider.min, slider.max, slider.step] = [0, STEPS, 1];
        slider.setAttribute("aria-label", `${column.name} at ${side}`);
        slider.addEventListener("input", () => { move(column, side, nearest(column, slider.value / STEPS)); });
        none.addEventListener("click", () => { move(column, side, null); });
        label.append(make("span", "muted", `at ${side}`), slider, value);
        const row = make("div", "limit-line");
        row.append(label, none);
        svg.append(shade, mark);
        node.append(row);
        made.sides[side] = { mark, shade, slider, value, none, clips: make("div", "at-limit") };
      }
      for (const side of ["least", "most"]) node.append(made.sides[side].clips);
      for (const note of column.notes) node.append(make("p", "note muted", note));
      made.show = () => {
        const hist = new Uint32Array(256), inside = new Uint32Array(256);
        for (let n = 0; n < total; n++) {
          hist[column.codes[n]]++;
          if (alive[n]) inside[column.codes[n]]++;
        }
        const sums = (counts) => column.bars.map(([from, to]) => counts.subarray(from, to).reduce((a, b) => a + b, 0));
        const [whole, rest] = [sums(hist), sums(inside)];
        const most = Math.max(1, ...whole);
        const high = (number) => (number ? Math.max(HIGH * number / most, 1.2) : 0);
        bars.forEach((pair, number) => pair.forEach((rect, which) => {
          const size = high((which ? rest : whole)[number]);
          rect.setAttribute("y", HIGH - size);
          rect.setAttribute("height", size);
        }));
        for (const side of ["least", "most"]) showSide(made, side);
      };
      return made;
    }

    const nearest = (column, at) => column.at.reduce(
      (best, one, number) => (Math.abs(one - at) < Math.abs(column.at[best] - at) ? number : best), 0);

    function showSide({ column, sides }, side) {
      const { mark, shade, slider, value, none, clips } = sides[side];
      const index = column[side], isSet = index !== null;
      const at = isSet ? column.at[index] : side === "least" ? 0 : 1;
      slider.value = Math.round(at * STEPS);
      slider.classList.toggle("unset", !isSet);
      slider.setAttribute("aria-valuetext", isSet ? text(column, side) : "no limit");
      value.textContent = isSet ? text(column, side) : "no limit";
      none.disabled = !isSet;
      for (const one of [mark, shade]) one.setAttribute("visibility", isSet ? "visible" : "hidden");
      mark.setAttribute("x1", at * WIDE);
      mark.setAttribute("x2", at * WIDE);
      shade.setAttribute("x", side === "least" ? 0 : at * WIDE);
      shade.setAttribute("width", (side === "least" ? at : 1 - at) * WIDE);
      showClips(column, side, clips);
    }

    function showClips(column, side, node) {
      node.replaceChildren();
      if (column[side] === null) return;
      const limit = column.edges[column[side]], number = columns.indexOf(column);
      const valued = data.samples.filter((one) => one.values[number] !== null)
        .sort((a, b) => a.values[number] - b.values[number]);
      const isBelow = (one) => (side === "least" ? one.values[number] < limit : one.values[number] <= limit);
      const below = valued.filter(isBelow).slice(-SHOWN), above = valued.filter((one) => !isBelow(one)).slice(0, SHOWN);
      for (const [clips, isOut] of [[below, side === "least"], [above, side === "most"]]) {
        const part = make("div", "one-side");
        part.append(make("p", "side-name", isOut ? `out: ${side === "least" ? "below" : "above"} ${short(limit)}` : "in"));
        for (const one of clips === below ? [...below].reverse() : above) part.append(strip(one, number));
        if (!clips.length) part.append(make("p", "muted", "no clip among the samples"));
        node.append(part);
      }
    }

    function strip(one, number) {
      const figure = make("figure", "sample");
      const name = make("figcaption");
      const title = make(one.link ? "a" : "span", "", one.id);
      if (one.link) title.href = one.link;
      name.append(make("b", "", short(one.values[number])), " ", title);
      figure.append(name);
      if (one.strip) {
        const image = make("img");
        image.alt = `Frames of ${one.id}, first to last`;
        image.loading = "lazy";
        [image.width, image.height] = [one.width, one.height];
        image.src = `data:image/webp;base64,${one.strip}`;
        figure.append(image);
      }
      return figure;
    }

    // ---- all together

    const first = columns.map(({ least, most }) => ({ least, most }));
    columns.forEach((column, number) => { column.first = first[number]; });
    const panels = columns.map(panel);
    const grids = [make("div", "cards"), make("div", "cards")];
    panels.forEach((one) => grids[one.column.least === null && one.column.most === null ? 1 : 0].append(one.node));
    const rest = make("details");
    rest.append(make("summary", "", "Scores without a limit"), grids[1]);
    let waiting = false;

    function update() {
      waiting = false;
      const found = funnel();
      showFunnel(found);
      showKept(found);
      for (const one of panels) one.show();
    }

    function later() {
      if (!waiting) requestAnimationFrame(update);
      waiting = true;
    }

    function move(column, side, index) {
      column[side] = index;
      later();
    }

    reset.addEventListener("click", () => {
      for (const column of columns) Object.assign(column, column.first);
      later();
    });
    box.append(line, grids[0]);
    if (grids[1].childElementCount) box.append(rest);
    rest.open = !grids[0].childElementCount;
    box.prepend(bar);
    box.hidden = false;
    update();
  }

  for (const box of document.querySelectorAll(".explorer")) explore(box);
})();
