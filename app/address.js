// The page's address: the tab, what it shows (each tab says that itself), and where its viewer stands. Another run or
// another tab is a new entry for Back and Forward; another frame, image, patch or panel only changes the entry.

import { page } from "./shared.js";

const FIRST = "explore";
const OWN = "own"; // the tab within Explore that has an address of its own; the others there go by Explore's
const TABS = [FIRST, OWN, "compare", "intervene", "toy", "train", "how-it-works", "evidence"]; // as app/ui.py has them
const PLACE = ["at", "image", "patch", "panels"]; // of a viewer: see components/viewer/place.js
const PAUSE = 350; // ms: browsers refuse addresses that change too often
const parts = (query) => new URLSearchParams(query);
const tabOf = (query) => parts(query).get("tab") || FIRST;
const known = (query) => TABS.includes(tabOf(query));

/** (what the tab shows, where its viewer stands) of a query; nothing of one whose tab is none: Explore opens, and is asked for nothing. */
function split(query) {
  const all = known(query) ? parts(query) : parts("");
  const place = {};
  for (const name of PLACE) {
    if (all.has(name)) place[name] = all.get(name);
    all.delete(name);
  }
  all.delete("__theme");
  return [all.toString(), place];
}

class Address {
  constructor() {
    const [query, place] = split(location.search);
    this.tab = tabOf(query);
    this.queries = { [this.tab]: query }; // what each tab shows
    this.places = { [this.tab]: place };
    this.asked = { [this.tab]: place }; // by a link or Back: for the viewer, once its run is there
    this.within = this.tab === OWN ? OWN : FIRST; // of Explore's two tabs
    [this.trigger, this.turn] = [null, 0];
    window.addEventListener("popstate", () => this.travelled());
    page.on("tab", (tab) => this.opened(tab));
    this.pressed = 0; // tabs' buttons of which no news has come: a tab that opens by itself is no step of a person's
    const press = ({ target }) => {
      if (target.closest?.(".tab-wrapper button:not([aria-selected=true])")) this.pressed += 1;
    };
    document.addEventListener("click", press, true);
  }

  /** The page's own part is mounted: its event asks the server for what an older entry shows. */
  connect(trigger) {
    this.trigger = trigger;
    const { tab } = this;
    if (tab === OWN) whenThere(OWN, (button) => button.click());
  }

  /** A tab shows something else: `again` if that is only what its address asked for. */
  shows(tab, query, again = false) {
    const before = this.queries[tab];
    const [now] = split(query);
    if (before === now) return;
    if (this.waiting) this.write(true); // the entry that is left says where one was
    this.queries[tab] = now;
    if (!again) this.places[tab] = {};
    if (tab !== this.tab) return;
    const bare = tab !== FIRST && (before === undefined || before === bareOf(tab));
    this.write(again || bare);
  }

  /** A viewer stands elsewhere. */
  stands(tab, place) {
    this.places[tab] = place;
    if (tab === this.tab) this.replaceSoon();
  }

  /** What an address asks of a tab, by name; null where it does not. */
  of(tab, name) {
    return parts(this.queries[tab]).get(name);
  }

  /** Where a viewer is asked to stand, told once. */
  place(tab) {
    const asked = this.asked[tab];
    delete this.asked[tab];
    return asked || {};
  }

  /** The address of what is seen now. */
  get query() {
    const all = parts(this.queries[this.tab] ?? bareOf(this.tab));
    for (const [name, value] of Object.entries(this.places[this.tab] || {})) all.set(name, value);
    const theme = parts(location.search).get("__theme");
    if (theme) all.set("__theme", theme);
    return all.toString();
  }

  /** The whole address, of this moment. */
  link() {
    page.say("link");
    this.write(true);
    return location.href;
  }

  write(replace) {
    clearTimeout(this.waiting);
    this.waiting = null;
    const now = `${location.pathname}${this.query ? `?${this.query}` : ""}${location.hash}`;
    if (now === `${location.pathname}${location.search}${location.hash}`) return;
    page.say("address", now);
    if (replace) history.replaceState(null, "", now);
    else history.pushState(null, "", now);
  }

  replaceSoon() {
    this.waiting ??= setTimeout(() => this.write(true), PAUSE);
  }

  /** A tab was opened, by a person or by what the address asks for. */
  opened(name) {
    if (!this.pressed) return;
    this.pressed -= 1;
    const inner = name === OWN || !TABS.includes(name);
    if (inner) this.within = name === OWN ? OWN : FIRST;
    const tab = inner || name === FIRST ? this.within : name;
    if (tab === this.tab) return;
    if (this.waiting) this.write(true); // the entry that is left says where one was
    this.tab = tab;
    this.queries[tab] ??= bareOf(tab);
    this.write(false);
  }

  /** Back or Forward: what that entry says is shown again. */
  travelled() {
    clearTimeout(this.waiting);
    this.waiting = null;
    const [query, place] = split(location.search);
    const tab = tabOf(query);
    const before = this.queries[tab];
    this.tab = tab;
    if (query === bareOf(tab) && before !== undefined && tab !== FIRST && this.open(tab)) {
      return this.write(true); // the tab goes on showing what it shows
    }
    this.queries[tab] = query;
    this.places[tab] = place;
    const opened = this.open(tab);
    const same = before === query;
    if (same) page.say("place", { tab, place });
    else this.asked[tab] = place;
    if (!same || !opened) this.trigger?.("travelled", { query, pressed: opened, turn: (this.turn += 1) });
  }

  /** Press the tab's own button. False where it has none to press, in a narrow window's menu. */
  open(tab) {
    if (tab === FIRST || tab === OWN) this.within = tab;
    const outer = tab === OWN ? FIRST : tab;
    const button = buttonOf(outer);
    button?.click();
    if (outer === FIRST) buttonOf(tab === OWN ? OWN : "run")?.click();
    return Boolean(button);
  }
}

const bareOf = (tab) => (tab === FIRST ? "" : `tab=${tab}`);
const buttonOf = (tab) => document.querySelector(`[role=tab][data-tab-id="${CSS.escape(tab)}"]`);

function whenThere(tab, act, tries = 100) {
  const button = buttonOf(tab);
  if (button) act(button);
  else if (tries) setTimeout(() => whenThere(tab, act, tries - 1), 50);
}

/** The tab that a part of the page stands in. */
export const tabAround = (element) => element.closest("[role=tabpanel][id^=tab-]")?.id.slice(4) ?? FIRST;

export const address = (page.address ||= new Address());
