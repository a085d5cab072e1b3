// Interaction of a page: sort and search its long tables, and play the clips of a card together.
// All is in the page already; nothing here makes HTML from strings, and nothing is asked for.
"use strict";
(() => {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const STEP_MS = 300; // a frame of a clip that cannot be played, shown frame by frame

  // ---- tables

  function sortable(table) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      button.title = "Sort by this column";
      button.addEventListener("click", () => sort(table, head, column));
      head.append(button);
    });
  }

  function sort(table, head, column) {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const rows = [...table.tBodies].map((body) => {
      const cell = body.rows[0].cells[column];
      return { body, key: cell.dataset.key === undefined ? null : Number(cell.dataset.key), text: cell.textContent.trim() };
    });
    const numeric = head.classList.contains("right");
    const empty = (row) => (numeric ? row.key === null : row.text === "–");
    rows.sort((a, b) => empty(a) - empty(b) || // what says nothing comes last, whichever way
      sign * (numeric ? a.key - b.key : a.text.localeCompare(b.text, "en", { numeric: true })));
    table.append(...rows.map((row) => row.body));
  }

  // Rows that hold all the words, in any order.
  function searchable(table) {
    const label = document.createElement("label");
    const field = document.createElement("input");
    label.className = "search";
    label.append("Search rows", field);
    field.type = "search";
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/);
      for (const body of table.tBodies) {
        const text = body.textContent.toLowerCase();
        body.hidden = !words.every((word) => text.includes(word));
      }
    });
    table.closest(".scroll").previousElementSibling.before(label); // above the hint of columns to the right
  }

  // A hint above a table that is cut off at its right.
  function tell(box) {
    box.previousElementSibling.hidden = box.scrollWidth <= box.clientWidth + 1;
  }

  for (const table of document.querySelectorAll("table.searched")) searchable(table);
  const boxes = [...document.querySelectorAll(".swipe + .scroll")];
  addEventListener("resize", () => boxes.forEach(tell));
  boxes.forEach(tell);

  // ---- clips

  // Sizes of a strip in its own pixels, however large it is shown: the whole, one frame, from one frame to the next.
  function sizes(image) {
    const [whole, high] = ["width", "height"].map((name) => Number(image.getAttribute(name)));
    const step = (whole + Number(image.dataset.gap)) / Number(image.dataset.frames);
    return { whole, high, step, wide: step - Number(image.dataset.gap) };
  }

  async function poster(video, image) { // the first frame, until the clip plays
    await image.decode();
    const { whole, high, wide } = sizes(image);
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [wide, high];
    const part = image.naturalWidth * wide / whole; // the picture may be stored smaller than it is shown
    canvas.getContext("2d").drawImage(image, 0, 0, part, image.naturalHeight, 0, 0, wide, high);
    video.poster = canvas.toDataURL();
  }

  // A clip that is shown frame by frame, with what the card needs of a video.
  function flipbook(image, label) {
    const box = document.createElement("button");
    const picture = image.cloneNode();
    const frames = Number(image.dataset.frames);
    const { whole, high, step, wide } = sizes(image);
    let timer = 0, at = 0;
    box.type = "button";
    box.className = "flip";
    box.style.aspectRatio = `${wide} / ${high}`;
    picture.removeAttribute("width");
    picture.removeAttribute("height");
    picture.style.width = `${100 * whole / wide}%`;
    picture.alt = "";
    box.append(picture);
    const show = () => {
      picture.style.transform = `translateX(${-100 * at * step / whole}%)`;
      box.setAttribute("aria-label", `${timer ? "Pause" : "Play"} ${label}, frame by frame`);
    };
    const made = {
      box,
      get paused() { return !timer; },
      play() {
        timer ||= setInterval(() => { at = (at + 1) % frames; show(); }, STEP_MS);
        show();
        return Promise.resolve();
      },
      pause() {
        clearInterval(timer);
        timer = 0;
        show();
      },
      restart() { at = 0; show(); },
    };
    show();
    return made;
  }

  function together(card) {
    const button = card.querySelector(".play");
    const players = [];
    const name = button.textContent;
    const stripOf = (video) => card.querySelector(`.strips img[data-side="${video.dataset.side}"]`);
    let isSeen = false, byHand = still; // by hand: it was stopped here, or its user wants no motion
    const showState = () => { button.textContent = players.some((one) => !one.paused) ? "Pause" : name; };
    const all = (playing) => {
      for (const one of players) {
        if (playing && one.paused) one.play().catch(() => {});
        else if (!playing && !one.paused) one.pause();
      }
      showState();
    };

    function watch(video) {
      const one = {
        get paused() { return video.paused; },
        play: () => video.play(),
        pause: () => video.pause(),
        restart: () => { video.currentTime = 0; },
        video,
      };
      players.push(one);
      const bare = () => { video.controls = video.matches(":hover, :focus"); }; // they cover a third of a small clip
      for (const name of ["pointerenter", "pointerleave", "focus", "blur"]) video.addEventListener(name, bare);
      video.tabIndex = 0;
      bare();
      // whichever is started, stopped or moved by its own controls takes the other with it
      video.addEventListener("play", () => all(true));
      video.addEventListener("pause", () => {
        if (video.seeking || video.ended) return;
        byHand ||= isSeen;
        all(false);
      });
      video.addEventListener("seeked", () => {
        for (const { video: other } of players) {
          if (other && other !== video && video.paused && Math.abs(other.currentTime - video.currentTime) > 0.05) {
            other.currentTime = video.currentTime;
          }
        }
      });
      const unplayable = () => replace(video, one);
      if (video.error) unplayable();
      else video.addEventListener("error", unplayable, { once: true });
    }

    function replace(video, one) { // its codec is not known here: frames of it, from inside the page
      players.splice(players.indexOf(one), 1);
      const note = document.createElement("p");
      note.className = "unplayed";
      const figure = video.closest("figure");
      const strip = stripOf(video);
      if (strip) {
        const book = flipbook(strip, video.getAttribute("aria-label"));
        book.box.addEventListener("click", () => all(book.paused));
        players.push(book);
        video.replaceWith(book.box);
        note.textContent = "This browser cannot play the file; these are frames of it.";
      } else {
        video.remove();
        note.textContent = "This browser cannot play the file.";
        button.hidden = players.length === 0;
      }
      figure.append(note);
      follow();
    }

    // A clip runs, without a sound, while it is on the screen, and until it is stopped.
    function follow() {
      if (!byHand) all(isSeen);
    }

    for (const video of [...card.querySelectorAll("video")]) {
      watch(video);
      if (stripOf(video)) poster(video, stripOf(video)).catch(() => {}); // without one the place is black
    }
    button.hidden = players.length === 0;
    button.addEventListener("click", () => {
      const start = players.every((one) => one.paused);
      byHand = true;
      if (start) for (const one of players) one.restart();
      all(start);
    });
    new IntersectionObserver((found) => {
      isSeen = found.at(-1).isIntersecting;
      follow();
    }, { threshold: 0.3 }).observe(card.querySelector(".clips"));
  }

  for (const table of document.querySelectorAll("table.sorts")) sortable(table);
  for (const card of document.querySelectorAll(".card:has(.play)")) together(card);
  const unfold = () => { // a link to a folded section opens it
    const aimed = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = aimed && aimed.querySelector(":scope > details");
    if (folded) folded.open = true;
  };
  window.addEventListener("hashchange", unfold);
  window.addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
  unfold();
})();
