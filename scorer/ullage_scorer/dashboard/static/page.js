// What the server cannot do: local times, worksheets that stay open, word of new anomalies, the connection's state.
"use strict";
(() => {
  const language = document.documentElement.lang;
  const forms = {
    time: { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
    both: { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
    date: { year: "numeric", month: "short", day: "numeric" },
  };
  const written = Object.fromEntries(Object.entries(forms).map(([name, form]) => [name, new Intl.DateTimeFormat(language, form)]));
  const sent = new Map();
  const announced = new Set();
  const announcer = document.getElementById("announcer");
  const connection = document.getElementById("connection");
  const offline = document.getElementById("offline");

  const localise = (root) => {
    for (const time of root.querySelectorAll("time[data-form]")) {
      time.textContent = written[time.dataset.form].format(new Date(time.dateTime));
    }
  };

  const announce = (root, quietly) => {
    for (const anomaly of root.querySelectorAll("[data-announce]")) {
      if (announced.has(anomaly.dataset.key)) continue;
      announced.add(anomaly.dataset.key);
      if (quietly) continue;
      announcer.textContent = anomaly.dataset.announce;
      anomaly.classList.add("is-new");
    }
  };

  const dress = (root, quietly) => {
    localise(root);
    window.ullageCharts.draw(root);
    announce(root, quietly);
  };

  const show = (state) => {
    if (connection.dataset.state === state) return;
    connection.dataset.state = state;
    connection.querySelector("span").textContent = connection.dataset[state];
    offline.hidden = state === "live";
    document.body.classList.toggle("is-offline", state !== "live");
  };

  document.addEventListener("DOMContentLoaded", () => {
    for (const panel of document.querySelectorAll("main > [id^='p-']")) sent.set(panel.id, panel.innerHTML);
    dress(document, true);
  });

  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail;
    const next = fragment.firstElementChild;
    // A panel that did not change is left alone: nothing flickers, nothing is read out again.
    if (!next || sent.get(target.id) === next.innerHTML) { event.detail.shouldSwap = false; return; }
    sent.set(target.id, next.innerHTML);
    for (const details of target.querySelectorAll("details[id]")) {
      const same = next.querySelector(`#${CSS.escape(details.id)}`);
      if (same) same.open = details.open;
    }
    const feed = target.querySelector(".feed");
    if (feed) next.dataset.scrolled = feed.scrollTop;
  });

  document.addEventListener("htmx:oobAfterSwap", (event) => {
    const panel = document.getElementById(event.detail.target.id);
    if (!panel) return;
    const feed = panel.querySelector(".feed");
    if (feed && panel.dataset.scrolled) feed.scrollTop = Number(panel.dataset.scrolled);
    dress(panel, false);
  });

  document.addEventListener("htmx:sseOpen", () => show("live"));
  document.addEventListener("htmx:sseError", () => show("offline"));
  document.addEventListener("htmx:sseBeforeMessage", () => show("live"));
})();
