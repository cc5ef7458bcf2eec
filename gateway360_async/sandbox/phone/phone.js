// The page's beginning: shows what needs JavaScript, and joins the parts.

import { $, copies, setText } from "./dom.js";
import { Inbox } from "./inbox.js";
import { Live } from "./live.js";
import { Log } from "./requests.js";
import { Switches } from "./switches.js";

const SEARCH_AFTER = 150; // milliseconds without a key

for (const node of document.querySelectorAll(".needs-js")) node.hidden = false;
setText($("address"), location.origin);
copies($("copy-address"), $("copy-address"), () => location.origin);

const [inbox, log, switches] = [new Inbox(), new Log(), new Switches()];
let find = "";
let sandbox; // which one the page shows
const live = new Live({
  state(state) {
    // Another sandbox on the same port gives the same ids to other messages: nothing of the one before is theirs.
    if (sandbox !== undefined && state.sandbox !== sandbox) for (const part of [inbox, log, switches]) part.forget();
    sandbox = state.sandbox;
    inbox.state(state, find);
    log.state(state);
    switches.show(state);
  },
  update(update) {
    inbox.update(update, find);
    log.update(update);
    switches.show(update);
  },
});

let timer;
function search() {
  const typed = $("search").value.trim();
  if (typed === find) return;
  find = typed;
  live.watch(find);
}
$("search").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(search, SEARCH_AFTER);
});
$("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(timer);
  search();
});

live.watch(find);
