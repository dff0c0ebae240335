// Keeps the page current: asks for it again, and puts what changed in its place. What is being typed or read stays.
"use strict";
const EVERY = document.getElementById("board") ? 30000 : 3000;
const PATIENCE = 15000;
let lastGood = new Date();

function fold(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").replace(/đ/gi, "d").toLowerCase();
}

function search() {
  for (const input of document.querySelectorAll("[data-search]")) {
    const wanted = fold(input.value);
    for (const row of document.querySelectorAll(`#${input.dataset.search} tbody tr`)) {
      row.hidden = wanted !== "" && !fold(row.textContent).includes(wanted);
    }
  }
}

function lost(since) {
  const alert = document.getElementById("lost");
  const text = since ? `${alert.dataset.text} ${since.toLocaleTimeString(document.documentElement.lang)}` : "";
  if (alert.textContent !== text) alert.textContent = text;
  alert.hidden = !since;
}

async function update() {
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const news = fresh.getElementById(part.id);
      if (news && news.innerHTML !== part.innerHTML) part.replaceChildren(...news.cloneNode(true).childNodes);
    }
    search();
    lastGood = new Date();
    lost(null);
  } catch {
    lost(lastGood);
  }
  setTimeout(update, EVERY);
}

document.addEventListener("input", search);
search();
setTimeout(update, EVERY);
