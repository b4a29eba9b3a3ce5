"use strict";
// All behavior is asked for by data attributes; without this script the pages work,
// but for what each attribute adds.

// data-live="PAGE": the element has the text of that page, fetched again and again.
for (const element of document.querySelectorAll("[data-live]")) {
  const update = async () => {
    if (document.hidden) return;
    let state = "away", text = "The server does not answer.";
    try {
      const answer = await fetch(element.dataset.live, {credentials: "same-origin", cache: "no-store"});
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const bar = page.querySelector(".bar");
      state = bar ? bar.className : "";
      text = bar ? bar.textContent : "";
    } catch {}
    if (element.textContent.trim() === text) return;
    const line = document.createElement("p");
    line.className = "bar " + state;
    line.textContent = text;
    element.replaceChildren(...(text ? [line] : []));
  };
  setInterval(update, 5000);
  document.addEventListener("visibilitychange", update);
}

// A page that the browser has kept is asked for again: the session may have ended.
addEventListener("pageshow", event => { if (event.persisted) location.reload(); });
