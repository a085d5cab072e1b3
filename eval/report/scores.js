// The list of clips: sorted, filtered and drawn piece by piece, so that its length does not matter.
// In: the JSON of #data (see eval/report/clips.py). All text is set as text; nothing here makes HTML from strings.
"use strict";
(() => {
  const CHUNK = 40; // clips drawn at a time; the next ones come as one scrolls
  const LONG = 420; // characters of a text before "show all"
  const PRINTED = 100;
  const FIFTHS = ["worst fifth", "second worst fifth", "middle fifth", "second best fifth", "best fifth"];
  const { metrics, clips, chosen } = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const numeral = (metric, value) => { // so many decimals as tell the clips of this metric apart
    const text = value.toFixed(metrics[metric].decimals);
    return Number(text) === 0 && value !== 0 ? value.toExponential(1) : text;
  };
  const failedAtAll = (clip) => Boolean(clip.error || clip.fails);
  const start = { metric: chosen, order: "worst", text: "", failed: false, from: null, to: null };
  const state = { ...start };
  let view = []; // positions in `clips` that are shown, in order
  let drawn = 0;

  function el(tag, kind, text) {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function haystack(clip) {
    clip.words ??= [clip.id, clip.path, ...(clip.texts || []).map((text) => text[1]), clip.error?.code,
      ...(clip.fails || []).map((fail) => fail.code)].join("\n").toLowerCase();
    return clip.words;
  }

  // ---- which clips, in which order

  const orders = new Map();
  function ascending(metric) { // positions of the clips that have a value, least first
    if (!orders.has(metric)) {
      const scored = [...clips.keys()].filter((i) => clips[i].v[metric] !== null);
      orders.set(metric, scored.sort((a, b) => clips[a].v[metric] - clips[b].v[metric] || a - b));
    }
    return orders.get(metric);
  }

  function ordered() {
    if (state.metric < 0) return [...clips.keys()];
    const scored = [...ascending(state.metric)];
    const leastFirst = (metrics[state.metric].up === true) === (state.order === "worst");
    if (!leastFirst) scored.reverse();
    return scored.concat([...clips.keys()].filter((i) => clips[i].v[state.metric] === null));
  }

  function wanted(clip) {
    if (state.failed && !failedAtAll(clip)) return false;
    if (state.metric >= 0 && (state.from !== null || state.to !== null)) {
      const value = clip.v[state.metric];
      if (value === null || value < (state.from ?? -Infinity) || value > (state.to ?? Infinity)) return false;
    }
    return state.text.toLowerCase().split(/\s+/).every((word) => haystack(clip).includes(word));
  }

  function update() {
    view = ordered().filter((i) => wanted(clips[i]));
    drawn = 0;
    at("list").replaceChildren();
    drawMore();
    drawBrush();
    count();
    remember();
  }

  function count() {
    const num = (n) => `${n.toLocaleString("en")} ${n === 1 ? "clip" : "clips"}`;
    let said = view.length === clips.length ? num(view.length) : `${view.length.toLocaleString("en")} of ${num(clips.length)}`;
    if (state.metric >= 0) {
      said += `, ${at("order").selectedOptions[0].textContent.toLowerCase()} by ${metrics[state.metric].name}`;
      const without = view.filter((i) => clips[i].v[state.metric] === null).length;
      if (without) said += `; ${without.toLocaleString("en")} without a value at the end`;
    }
    at("count").textContent = said + ".";
  }

  // ---- one clip

  function drawMore(least = 1) {
    const goal = Math.min(view.length, Math.max(drawn + CHUNK, least));
    const piece = document.createDocumentFragment();
    for (; drawn < goal; drawn++) piece.append(card(clips[view[drawn]]));
    at("list").append(piece);
    at("more").hidden = drawn >= view.length;
  }

  function card(clip) {
    const made = el("article", "clip");
    if (withFiles) made.append(picture(clip));
    made.append(words(clip), values(clip));
    return made;
  }

  function picture(clip) {
    if (!clip.strip) {
      const box = el("div", clip.error ? "none bad" : "none");
      const why = clip.error || clip.unseen;
      if (why) box.append(el("b", "", why.code), why.message);
      else box.append(clip.path === undefined ? "no clip" : "no preview");
      if (clip.error?.hint) box.append(" ", el("span", "muted", clip.error.hint));
      return box;
    }
    const link = el(clip.link ? "a" : "div", "strip");
    if (clip.link) {
      link.href = clip.link;
      link.setAttribute("aria-label", `Play ${clip.id}`);
      link.addEventListener("click", (event) => play(event, clip));
    }
    const image = el("img");
    [image.width, image.height] = clip.size;
    image.alt = `Frames of ${clip.id}, first to last`;
    image.decoding = "async";
    image.src = `data:image/webp;base64,${clip.strip}`;
    link.append(image);
    return link;
  }

  function words(clip) {
    const made = el("div");
    const head = el("h3");
    const link = el("a", "", clip.id);
    link.href = `#${new URLSearchParams({ text: clip.id })}`;
    link.title = "Link to this clip";
    link.dir = "auto";
    head.append(link);
    const about = el("p", "about");
    const path = clip.path === clip.id ? "" : clip.path ?? "";
    about.append(el("bdi", "", path), path && clip.about ? " · " : "", clip.about ?? "");
    made.append(head, about);
    const list = el("dl", "said-of");
    for (const [label, text, left] of clip.texts || []) list.append(el("dt", "", label), said(label, text, left));
    made.append(list);
    if (clip.fails) {
      const fails = el("ul", "fails");
      for (const fail of clip.fails) {
        const line = el("li", "", `${fail.code} (${fail.metrics.join(", ")}): ${fail.message}`);
        fails.append(line);
      }
      made.append(fails);
    }
    if (clip.more) {
      const more = el("details", "more");
      more.append(el("summary", "", "What the metrics saw"));
      for (const [name, text] of clip.more) more.append(el("p", "", `${name}: ${text}`));
      made.append(more);
    }
    return made;
  }

  function said(label, text, left) {
    const made = el("dd", label === "Prompt" || label === "Caption" ? "" : "quiet");
    made.dir = "auto";
    const rest = left ? ` … (${left.toLocaleString("en")} more characters in scores.json)` : "";
    const whole = text + rest;
    if (whole.length <= LONG + 40) {
      made.textContent = whole;
      return made;
    }
    const button = el("button", "", "show all");
    button.type = "button";
    button.addEventListener("click", () => { made.textContent = whole; });
    made.append([...text].slice(0, LONG).join("") + "… ", button);
    return made;
  }

  function values(clip) {
    const made = el("div", "values");
    metrics.forEach((metric, i) => {
      const value = clip.v[i];
      const cell = el("div", value === null ? "v void" : `v r${clip.r[i]}`);
      if (i === state.metric) cell.classList.add("now");
      const name = el("span", "", metric.name);
      cell.title = value === null ? `${metric.name}: not scored` : [metric.name, FIFTHS[clip.r[i]]].filter(Boolean).join(": ");
      cell.append(name, el("b", "", value === null ? "–" : numeral(i, value)));
      if (value !== null && FIFTHS[clip.r[i]]) cell.append(el("i", "hidden", FIFTHS[clip.r[i]]));
      made.append(cell);
    });
    return made;
  }

  function play(event, clip) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const video = el("video");
    Object.assign(video, { controls: true, loop: true, muted: true, autoplay: true, playsInline: true, src: clip.link });
    const note = el("p", "", clip.id);
    note.id = "playing";
    video.addEventListener("error", () => {
      note.textContent = `This browser cannot play ${clip.path}: the file is gone, or its codec is not known here.`;
    });
    at("playing").replaceWith(note);
    note.before(video);
    const dialog = at("player");
    dialog.addEventListener("close", () => video.remove(), { once: true });
    dialog.showModal();
  }

  // ---- the range of values

  const BINS = 60;
  function drawBrush() {
    const scored = state.metric < 0 ? [] : ascending(state.metric);
    at("range").hidden = scored.length < 2;
    if (scored.length < 2) return;
    const of = (i) => clips[i].v[state.metric];
    const least = of(scored[0]), most = of(scored[scored.length - 1]);
    const width = (most - least) / BINS || 1;
    const counts = new Array(BINS).fill(0);
    for (const i of scored) counts[Math.min(BINS - 1, Math.floor((of(i) - least) / width))]++;
    const highest = Math.max(...counts);
    const bars = counts.map((num, i) => {
      const bar = document.createElementNS(at("brush").namespaceURI, "rect");
      const height = num ? Math.max(1.5, 36 * num / highest) : 0;
      const inside = least + (i + 1) * width > (state.from ?? -Infinity) && least + i * width <= (state.to ?? Infinity);
      for (const [key, value] of Object.entries({ x: i * 4, y: 36 - height, width: 3.2, height })) bar.setAttribute(key, value);
      if (inside && (state.from !== null || state.to !== null)) bar.setAttribute("class", "in");
      return bar;
    });
    at("brush").replaceChildren(...bars);
    at("from").placeholder = numeral(state.metric, least);
    at("to").placeholder = numeral(state.metric, most);
    at("brush").onpointerdown = (down) => brush(down, least, most);
  }

  function brush(down, least, most) {
    const box = at("brush").getBoundingClientRect();
    const place = (event) => least + (most - least) * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const first = place(down);
    at("brush").setPointerCapture(down.pointerId);
    at("brush").onpointermove = (move) => {
      const ends = [first, place(move)].sort((a, b) => a - b);
      [state.from, state.to] = ends.map((end) => Number(end.toPrecision(4)));
      show();
      update();
    };
    at("brush").onpointerup = at("brush").onpointercancel = (up) => {
      at("brush").onpointermove = null;
      if (Math.abs(up.clientX - down.clientX) < 3) { // a click clears
        state.from = state.to = null;
        show();
        update();
      }
    };
  }

  // ---- the tools, and the address that remembers them

  function show() {
    at("metric").value = String(state.metric);
    const directed = state.metric >= 0 && metrics[state.metric].up !== null;
    const names = directed ? ["Worst first", "Best first"] : ["Highest first", "Lowest first"];
    at("order").replaceChildren(...["worst", "best"].map((key, i) => new Option(names[i], key, false, key === state.order)));
    at("order").disabled = state.metric < 0;
    at("text").value = state.text;
    at("failed").checked = state.failed;
    at("from").value = state.from ?? "";
    at("to").value = state.to ?? "";
  }

  function remember() {
    const kept = new URLSearchParams();
    if (state.metric !== start.metric) kept.set("metric", state.metric < 0 ? "" : metrics[state.metric].name);
    for (const key of ["order", "text", "failed", "from", "to"]) if (state[key] !== start[key]) kept.set(key, state[key]);
    const hash = kept.size ? `#${kept}` : "";
    if (hash === location.hash) return;
    try {
      history.replaceState(null, "", hash || location.pathname + location.search);
    } catch (error) { // a viewer that frames the page may forbid it; nothing else depends on it
      console.info(`the address is not kept: ${error.message}`);
    }
  }

  function recall(event) {
    if (event && !location.hash.includes("=")) return; // a plain anchor
    if (event) at("clips").scrollIntoView();
    const kept = new URLSearchParams(location.hash.slice(1));
    const number = (key) => (kept.get(key) && Number.isFinite(Number(kept.get(key))) ? Number(kept.get(key)) : null);
    const metric = kept.has("metric") ? metrics.findIndex((one) => one.name === kept.get("metric")) : start.metric;
    Object.assign(state, {
      metric, order: kept.get("order") === "best" ? "best" : "worst", text: kept.get("text") ?? "",
      failed: kept.get("failed") === "true", from: number("from"), to: number("to"),
    });
    show();
    update();
  }

  function listen() {
    const end = (id) => (at(id).value === "" || Number.isNaN(at(id).valueAsNumber) ? null : at(id).valueAsNumber);
    at("metric").addEventListener("change", () => {
      Object.assign(state, { metric: Number(at("metric").value), from: null, to: null });
      show();
      update();
    });
    at("order").addEventListener("change", () => { state.order = at("order").value; update(); });
    at("text").addEventListener("input", () => { state.text = at("text").value; update(); });
    at("failed").addEventListener("change", () => { state.failed = at("failed").checked; update(); });
    for (const id of ["from", "to"]) at(id).addEventListener("input", () => { state[id] = end(id); update(); });
    at("tools").addEventListener("submit", (event) => event.preventDefault());
    at("tools").addEventListener("reset", (event) => {
      event.preventDefault();
      Object.assign(state, start);
      show();
      update();
    });
    at("more").addEventListener("click", () => drawMore());
    new IntersectionObserver((seen) => { if (seen[0].isIntersecting) drawMore(); }, { rootMargin: "900px" }).observe(at("more"));
    window.addEventListener("hashchange", recall);
    window.addEventListener("beforeprint", () => drawMore(PRINTED));
  }

  const withFiles = clips.some((clip) => clip.path !== undefined);
  at("list").classList.toggle("bare", !withFiles);
  at("list").classList.toggle("many", metrics.length > 10);
  at("metric").append(new Option("clip id", "-1"), ...metrics.map((metric, i) => new Option(metric.name, String(i))));
  at("legend").hidden = !metrics.some((metric) => metric.up !== null);
  at("tools").hidden = false;
  listen();
  recall();
})();
