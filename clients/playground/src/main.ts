// The playground: puts the editor, the panel and the dashboard into the page.
import { EditorView } from "@codemirror/view";
import { Connection } from "./connection.ts";
import { Dashboard } from "./dashboard.ts";
import { Editor } from "./editor.ts";
import { byId, element } from "./element.ts";
import { ghostOf, ghostText } from "./ghost_text.ts";
import { askForKey } from "./key_dialog.ts";
import { RequestPanel } from "./request_panel.ts";
import type { RequestRecord } from "./request_record.ts";
import { SAMPLES } from "./samples.ts";
import { showServer } from "./server_state.ts";
import { Suggester } from "./suggester.ts";
import { offerThemes } from "./theme.ts";

/** Suggestions are read out when they have stood this long. */
const SPOKEN_AFTER_MS = 700;

const onMac = /mac/i.test(navigator.platform);
const KEYS = [
  ["Tab", "take all"],
  [onMac ? "⌘ →" : "Ctrl →", "a word"],
  ["Shift Tab", "a line"],
  ["Esc", "dismiss"],
  ["Alt \\", "ask"],
] as const;

const connection = new Connection(askForKey);
const panel = new RequestPanel(byId("request", HTMLElement), byId("request-outcome", HTMLElement));
const automatic = byId("automatic", HTMLInputElement);
/** The server takes requests. One can read and write before. */
let ready = false;
const suggester = new Suggester({
  connection,
  automatic: () => ready && automatic.checked,
  onRecord: show,
});
const editor = new Editor({
  parent: byId("editor", HTMLElement),
  label: "Code. Tab takes a suggestion; Escape, then Tab leaves the editor",
  nonce: document.querySelector<HTMLScriptElement>("script[nonce]")!.nonce,
  extensions: [
    ghostText({ dismissed: () => suggester.dismissed(), asked: () => suggester.askNow() }),
    EditorView.updateListener.of((update) => {
      suggester.updated(update);
      speak(ghostOf(update.state));
    }),
  ],
});
const dashboard = new Dashboard(connection, {
  section: byId("dashboard", HTMLElement),
  cards: byId("dashboard-cards", HTMLElement),
  state: byId("dashboard-state", HTMLElement),
  pause: byId("pause", HTMLButtonElement),
});

function show(record: RequestRecord): void {
  panel.update(record);
  const state = byId("state", HTMLElement);
  state.textContent = record.outcome === "failed" ? record.error ?? "" : "";
}

let spoken: number | undefined;

/** Tells those who do not see it what is suggested. */
function speak(suggestion: string | undefined): void {
  clearTimeout(spoken);
  const place = byId("spoken", HTMLElement);
  spoken = setTimeout(() => {
    place.textContent = suggestion === undefined ? "" : `Suggestion: ${suggestion}`;
  }, SPOKEN_AFTER_MS);
}

function offerSamples(select: HTMLSelectElement): void {
  select.append(...SAMPLES.map(({ name }) => element("option", {}, name)));
  select.addEventListener("change", () => {
    editor.open(SAMPLES[select.selectedIndex]!);
    editor.view.focus();
  });
}

function nameKeys(place: HTMLElement): void {
  for (const [key, does] of KEYS) place.append(element("span", {}, element("kbd", {}, key), ` ${does}`));
}

function offerKey(button: HTMLButtonElement): void {
  button.hidden = !connection.secured;
  byId("metrics-link", HTMLElement).hidden = connection.secured; // A link carries no key.
  button.addEventListener("click", () => connection.changeKey());
}

offerThemes(byId("theme-button", HTMLButtonElement), () => dashboard.restyle());
nameKeys(byId("keys", HTMLElement));
offerSamples(byId("sample", HTMLSelectElement));
editor.open(SAMPLES[0]!);
await showServer(connection, byId("model", HTMLElement));
offerKey(byId("key-button", HTMLButtonElement));
ready = true;
suggester.suggest();
