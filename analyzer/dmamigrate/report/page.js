// SPDX-License-Identifier: GPL-2.0-only
"use strict";
(() => {
  const table = document.getElementById("findings");
  for (const bar of document.querySelectorAll(".bar")) bar.style.width = `${bar.dataset.share}%`;
  if (!table) return;
  const findings = [...table.tBodies];
  const words = new Map(findings.map((one) => [one, one.textContent.toLowerCase()]));
  const filter = document.getElementById("filter");
  const pressed = [...document.querySelectorAll(".overview button")];

  function apply() {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const columns = new Map();
    for (const button of pressed) {
      if (button.getAttribute("aria-pressed") !== "true") continue;
      const held = columns.get(button.dataset.column) ?? new Set();
      columns.set(button.dataset.column, held.add(button.dataset.value));
    }
    let shown = 0;
    for (const one of findings) {
      const fits = wanted.every((word) => words.get(one).includes(word)) &&
        [...columns].every(([column, values]) => values.has(one.dataset[column]));
      one.hidden = !fits;
      shown += fits;
    }
    document.getElementById("count").textContent = `${shown} of ${findings.length}`;
  }

  function fold(one, open) {
    one.querySelector(".fold").setAttribute("aria-expanded", String(open));
    one.querySelector(".detail").hidden = !open;
  }

  filter.addEventListener("input", apply);
  for (const button of pressed) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      apply();
    });
  }
  document.getElementById("clear").addEventListener("click", () => {
    filter.value = "";
    for (const button of pressed) button.setAttribute("aria-pressed", "false");
    apply();
    filter.focus();
  });
  const unfold = document.getElementById("unfold");
  unfold.addEventListener("click", () => {
    const open = unfold.textContent === "Unfold all";
    for (const one of findings) if (!one.hidden) fold(one, open);
    unfold.textContent = open ? "Fold all" : "Unfold all";
  });
  table.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.matches(".fold")) fold(button.closest("tbody"), button.getAttribute("aria-expanded") !== "true");
    if (button.dataset.sort) sort(button);
  });

  function sort(button) {
    const head = button.closest("th");
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const by = new Intl.Collator("en", { numeric: true });
    const order = findings.map((one, place) => [one.dataset[button.dataset.sort], place, one]);
    order.sort((a, b) => (down ? -1 : 1) * by.compare(a[0], b[0]) || a[1] - b[1]);
    table.append(...order.map((row) => row[2]));
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input")) {
      event.preventDefault();
      filter.focus();
    }
    if (event.key === "Escape" && event.target === filter) document.getElementById("clear").click();
  });

  // a row that is jumped to, by a link or by the keyboard, is not to lie under the bar that stays at the top
  const bar = document.querySelector(".tools");
  new ResizeObserver(() => {
    const room = getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0;
    document.documentElement.style.scrollPaddingTop = `${room}px`;
  }).observe(bar);

  function follow() {
    const one = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (one && findings.includes(one)) {
      fold(one, true);
      one.scrollIntoView();
    }
  }
  addEventListener("hashchange", follow);
  follow();
})();
