// The line above every view: where one is, how the connection is, and the theme.

import { html } from "../vendor/htm-preact.js";
import { follow, listLink } from "../address.js";
import { ThemeButton } from "../theme.js";
import { Connection } from "./connection.js";
import { SignOut } from "./sign-in.js";

export function Top({ connection, behind, children }) {
  return html`<header class="top">
    <a class="home" href=${listLink()} onClick=${follow}>sentri-events</a>
    <div class="where">${children}</div>
    <div role="status"><${Connection} connection=${connection} behind=${behind} /></div>
    <${SignOut} />
    <${ThemeButton} />
  </header>`;
}
