// Draws the view that the address names.

import { html, render } from "./vendor/htm-preact.js";
import { place, useAddress } from "./address.js";
import { Runs } from "./views/runs.js";
import { Run } from "./views/run.js";
import { startTheme } from "./theme.js";

function App() {
  useAddress();
  const { view, id } = place();
  return view === "run" ? html`<${Run} key=${id} id=${id} />` : html`<${Runs} />`;
}

startTheme();
const page = document.getElementById("page");
page.replaceChildren();
render(html`<${App} />`, page);
