// Dark or light: as the system says, until somebody chooses; the choice is kept in this browser.

import { html, useState } from "./vendor/htm-preact.js";

const KEY = "sentri-events theme";
const CHOICES = { "": "As the system", light: "Light", dark: "Dark" };
const SIGNS = { "": "◐", light: "☀", dark: "☾" };

const chosen = () => (localStorage.getItem(KEY) in CHOICES ? localStorage.getItem(KEY) : "");

function show(choice) {
  if (choice) document.documentElement.dataset.theme = choice;
  else delete document.documentElement.dataset.theme;
}

/** Show what was chosen before. */
export function startTheme() {
  show(chosen());
}

/** The button that goes through the choices. */
export function ThemeButton() {
  const [choice, setChoice] = useState(chosen());
  const next = () => {
    const names = Object.keys(CHOICES);
    const name = names[(names.indexOf(choice) + 1) % names.length];
    localStorage.setItem(KEY, name);
    show(name);
    setChoice(name);
  };
  const label = `Theme: ${CHOICES[choice]}`;
  return html`<button class="quiet icon" onClick=${next} title=${label} aria-label=${label}>${SIGNS[choice]}</button>`;
}
