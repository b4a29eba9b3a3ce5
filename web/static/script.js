"use strict";
// All behavior is asked for by data attributes; without this script the pages work,
// but for what each attribute adds.

// parse returns the document of a page of this server.
const policy = window.trustedTypes?.createPolicy("pages", {createHTML: text => text});
const parse = text => new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html");

// data-live="PAGE": the element has the text of that page, fetched again and again.
for (const element of document.querySelectorAll("[data-live]")) {
  const update = async () => {
    if (document.hidden) return;
    let state = "away", text = "The server does not answer.";
    try {
      const answer = await fetch(element.dataset.live, {credentials: "same-origin", cache: "no-store"});
      const page = parse(await answer.text());
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

// The notice of what was done is shown once: not again when somebody comes back.
{
  const here = new URL(location.href);
  if (here.searchParams.has("done")) {
    here.searchParams.delete("done");
    history.replaceState(null, "", here);
  }
}

// A page that the browser has kept is asked for again: the session may have ended.
addEventListener("pageshow", event => { if (event.persisted) location.reload(); });

// post sends a form as its button would, and returns the answer.
const post = form => fetch(form.getAttribute("action"), {
  method: "POST", body: new URLSearchParams(new FormData(form)), credentials: "same-origin", cache: "no-store",
});

// data-search="PAGE" data-into="ID": while somebody types, the element with that id
// has what the page finds.
for (const field of document.querySelectorAll("input[data-search]")) {
  const into = document.getElementById(field.dataset.into);
  let timer, running;
  const search = async () => {
    running?.abort();
    running = new AbortController();
    const query = new URLSearchParams(new FormData(field.form));
    try {
      const answer = await fetch(field.dataset.search + "?" + query, {credentials: "same-origin", cache: "no-store", signal: running.signal});
      if (!answer.ok || answer.redirected) {
        field.form.requestSubmit(); // the page says what is wrong
        return;
      }
      into.replaceChildren(...parse(await answer.text()).body.childNodes);
    } catch {}
  };
  field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 150); });
}

// Keys: / goes to the search, the arrows go through the rows (data-row).
addEventListener("keydown", event => {
  const at = document.activeElement;
  const field = document.querySelector("input[data-search]");
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "/" && field && !at.matches("input:not([type=checkbox]), textarea, select")) {
    event.preventDefault();
    field.focus();
    field.select();
  }
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp" || at !== field && at !== document.body && !at.matches("[data-row]")) return;
  const rows = [...document.querySelectorAll("[data-row]")];
  const next = rows.indexOf(at) + (event.key === "ArrowDown" ? 1 : -1);
  if (rows.length === 0 || next >= rows.length) return;
  event.preventDefault();
  if (next < 0) field?.focus(); else rows[next].focus();
});

// data-show="ID": the answer to the form has an element with that id, which is shown
// here for 30 seconds.
const hiding = new Map(); // what to show again instead of a value, and when
const hide = id => {
  const known = hiding.get(id);
  if (!known) return;
  clearTimeout(known.timer);
  document.getElementById(id)?.replaceWith(known.hidden);
  hiding.delete(id);
};
for (const form of document.querySelectorAll("form[data-show]")) {
  form.addEventListener("submit", async event => {
    event.preventDefault();
    const id = form.dataset.show;
    try {
      const answer = await post(form);
      const shown = parse(await answer.text()).getElementById(id);
      if (!answer.ok || answer.redirected || !shown) throw new Error("not shown");
      hide(id);
      const hidden = document.getElementById(id);
      hidden.replaceWith(shown);
      hiding.set(id, {hidden, timer: setTimeout(hide, 30000, id)});
    } catch {
      form.submit(); // the page says what is wrong
    }
  });
}
// The browser may keep this page: without the value.
addEventListener("pagehide", () => { for (const id of [...hiding.keys()]) hide(id); });

// data-copy: the answer to the form goes to the clipboard, which is cleared after 30
// seconds, or when the page has the focus again after that.
for (const form of document.querySelectorAll("form[data-copy]")) {
  form.hidden = !navigator.clipboard;
  const say = text => { document.getElementById("copied").textContent = text; };
  form.addEventListener("submit", async event => {
    event.preventDefault();
    try {
      const answer = await post(form);
      if (!answer.ok || answer.redirected) { form.submit(); return; }
      const value = await answer.arrayBuffer(); // text() would drop a byte order mark
      await navigator.clipboard.writeText(new TextDecoder("utf-8", {ignoreBOM: true}).decode(value));
      say("Copied. The clipboard is cleared after 30 seconds while this page is open.");
      setTimeout(async function clear() {
        try {
          await navigator.clipboard.writeText("");
          say("The clipboard was cleared.");
        } catch {
          addEventListener("focus", clear, {once: true});
        }
      }, 30000);
    } catch {
      say("The browser does not allow it.");
    }
  });
}

// data-copy-text="ID": the button copies the text of the element with that id, and
// the element behind it says so.
for (const button of document.querySelectorAll("button[data-copy-text]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copyText).textContent);
      button.nextElementSibling.textContent = "Copied.";
    } catch {
      button.nextElementSibling.textContent = "The browser does not allow it.";
    }
  });
}

// wrongLine returns the line on which a text stops being JSON: the first that does
// not continue those before it. Browsers do not always say it.
const wrongLine = text => {
  const lines = text.split("\n");
  const continues = n => {
    const part = lines.slice(0, n).join("\n");
    try {
      JSON.parse(part);
      return true;
    } catch (error) {
      const at = /position (\d+)/.exec(error.message);
      return /end of (JSON|data)/i.test(error.message) || at !== null && Number(at[1]) >= part.trimEnd().length;
    }
  };
  let good = 0, bad = lines.length;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (continues(middle)) good = middle; else bad = middle;
  }
  return bad;
};

// data-editor="ID": the element with that id says how large the text is, and where
// it is not JSON if it looks like JSON.
for (const area of document.querySelectorAll("textarea[data-editor]")) {
  const plural = (n, of) => n.toLocaleString("en") + " " + of + (n === 1 ? "" : "s");
  area.addEventListener("input", () => {
    const text = area.value;
    const ends = text.endsWith("\n");
    const lines = text.split("\n").length - (ends || text === "" ? 1 : 0);
    let about = plural(new TextEncoder().encode(text).length, "byte") + ", " + plural(lines, "line") + ", " +
      (ends ? "ends with a newline" : "does not end with a newline");
    if (/^\s*[[{]/.test(text)) {
      try {
        JSON.parse(text);
        about += ", valid JSON";
      } catch (error) {
        const said = /line (\d+) column/.exec(error.message);
        about += ", not JSON: see line " + (said ? said[1] : wrongLine(text));
      }
    }
    document.getElementById(area.dataset.editor).textContent = about;
  });
}
