// Sends the token behind # in the address, which no server has seen so far, with what the form asks for.
"use strict";

const form = document.querySelector("form");
const status = document.querySelector("[role=status]");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = Object.fromEntries(new FormData(form));
  body.token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  try {
    const answer = await fetch(form.dataset.route, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (answer.ok) {
      form.hidden = true;
      status.textContent = form.dataset.done;
    } else {
      status.textContent = (await answer.json()).detail;
    }
  } catch {
    status.textContent = "The service does not answer. Try again in a moment.";
  }
});
