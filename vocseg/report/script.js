"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Folded details, which paper cannot open.
  addEventListener("beforeprint", () => { for (const each of all("details")) each.open = true; });

  // Order of the classes.
  for (const group of all(".switch")) {
    group.hidden = false;
    const list = group.closest("section").querySelector(".bars");
    for (const button of all("button", group)) button.addEventListener("click", () => {
      for (const each of all("button", group)) each.setAttribute("aria-pressed", String(each === button));
      const key = button.dataset.sort;
      list.append(...all("li", list).sort((a, b) => a.dataset[key] - b.dataset[key]));
    });
  }

  // Confusion matrix: one tab stop, arrow keys between cells.
  const number = (value) => Number(value).toLocaleString("en");
  const percent = (part) => part === 0 ? "0 %" : part < 1e-4 ? "less than 0.01 %" : `${(100 * part).toPrecision(3)} %`;
  for (const table of all(".confusion")) {
    const names = all("thead th", table), rows = all("tbody tr", table);
    const cells = rows.map((row) => all("td", row));
    const readout = document.getElementById(table.getAttribute("aria-describedby"));
    const hint = readout.textContent;
    const describe = (y, x) => {
      const pixels = Number(cells[y][x].dataset.n), total = Number(rows[y].dataset.pixels);
      const truth = rows[y].querySelector("th").textContent;
      const what = y === x ? `${truth}, correct` : `${truth} predicted as ${names[x].textContent}`;
      readout.textContent = `${what}: ${total ? percent(pixels / total) : "no pixels of it"} (${number(pixels)} of ${number(total)} pixels)`;
      names.forEach((name, k) => name.classList.toggle("on", k === x));
      rows.forEach((row, k) => row.querySelector("th").classList.toggle("on", k === y));
    };
    const clear = () => {
      readout.textContent = hint;
      for (const each of all(".on", table)) each.classList.remove("on");
    };
    cells.forEach((row, y) => row.forEach((cell, x) => {
      cell.tabIndex = y || x ? -1 : 0;
      cell.addEventListener("mouseenter", () => describe(y, x));
      cell.addEventListener("focus", () => describe(y, x));
      cell.addEventListener("click", () => cell.focus());
    }));
    table.addEventListener("mouseleave", clear);
    table.addEventListener("keydown", (event) => {
      const y = cells.findIndex((row) => row.includes(document.activeElement));
      if (y < 0) return;
      const x = cells[y].indexOf(document.activeElement), last = cells[y].length - 1;
      const to = { ArrowUp: [y - 1, x], ArrowDown: [y + 1, x], ArrowLeft: [y, x - 1], ArrowRight: [y, x + 1], Home: [y, 0], End: [y, last] }[event.key];
      if (!to || !cells[to[0]] || !cells[to[0]][to[1]]) return;
      event.preventDefault();
      cells[y][x].tabIndex = -1;
      cells[to[0]][to[1]].tabIndex = 0;
      cells[to[0]][to[1]].focus();
    });
  }

  // Image viewer.
  const viewer = document.getElementById("viewer"), body = document.getElementById("viewer-body");
  const title = document.getElementById("viewer-title");
  let shown = null;
  const cardsOf = (card) => all(".card", card.parentElement).filter((each) => each.querySelector(".open"));
  const show = (card) => {
    shown = card;
    const cards = cardsOf(card);
    title.textContent = `${card.querySelector("code").textContent} (${cards.indexOf(card) + 1} of ${cards.length})`;
    body.replaceChildren(card.querySelector(".pictures").cloneNode(true), card.querySelector(".words").cloneNode(true));
  };
  const step = (by) => {
    const cards = cardsOf(shown);
    show(cards[(cards.indexOf(shown) + by + cards.length) % cards.length]);
  };
  for (const button of all(".open")) button.addEventListener("click", () => { show(button.closest(".card")); viewer.showModal(); });
  document.getElementById("viewer-close").addEventListener("click", () => viewer.close());
  document.getElementById("viewer-before").addEventListener("click", () => step(-1));
  document.getElementById("viewer-after").addEventListener("click", () => step(1));
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  viewer.addEventListener("close", () => { if (shown) shown.querySelector(".open").focus(); body.replaceChildren(); });

  // Curves: values under the pointer or by arrow keys.
  for (const chart of all(".chart")) {
    const svg = chart.querySelector("svg"), cursor = chart.querySelector(".cursor"), readout = chart.querySelector(".readout");
    const lines = all("path.line", chart).map((path) => ({
      name: path.dataset.name,
      points: path.dataset.points.trim().split(" ").map((pair) => pair.split(",").map(Number)),
      places: path.getAttribute("d").slice(2).split(" ").filter((_, k) => k % 2 === 0).map(Number),
    }));
    const value = (y) => chart.dataset.percent === "1" ? `${(100 * y).toFixed(1)} %` : String(Number(y.toPrecision(4)));
    const stops = [...new Set(lines.flatMap((line) => line.places))].sort((a, b) => a - b);
    let at = -1;
    const describe = (place) => {
      let epoch = null;
      const parts = lines.map((line) => {
        const k = line.places.reduce((best, each, j) => Math.abs(each - place) < Math.abs(line.places[best] - place) ? j : best, 0);
        epoch = epoch ?? line.points[k][0];
        return `${line.name} ${value(line.points[k][1])}`;
      });
      cursor.setAttribute("x1", place);
      cursor.setAttribute("x2", place);
      readout.textContent = `epoch ${Math.round(epoch * 10) / 10}: ${parts.join(", ")}`;
    };
    const clear = () => { cursor.setAttribute("x1", -9); cursor.setAttribute("x2", -9); readout.textContent = "\u00a0"; };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      at = stops.reduce((best, each, j) => Math.abs(each - x) < Math.abs(stops[best] - x) ? j : best, 0);
      describe(stops[at]);
    });
    svg.addEventListener("pointerleave", clear);
    svg.addEventListener("blur", clear);
    svg.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      at = Math.max(0, Math.min(stops.length - 1, at + by));
      describe(stops[at]);
    });
  }
})();
