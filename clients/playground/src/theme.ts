// Dark, light, or as the system has it: the user's choice, kept for later visits. The page itself applies it before
// anything is drawn.

const ITEM = "hyades-theme";
const NEXT = { system: "light", light: "dark", dark: "system" } as const;
const NAMES = { system: "Theme: system", light: "Theme: light", dark: "Theme: dark" } as const;

type Theme = keyof typeof NEXT;

/** Lets the button go through the themes; `changed` is told of every change of colours, the system's too. */
export function offerThemes(button: HTMLButtonElement, changed: () => void): void {
  const { dataset } = document.documentElement;
  function theme(): Theme {
    const chosen = dataset.theme as Theme;
    return chosen in NEXT ? chosen : "system";
  }
  button.textContent = NAMES[theme()];
  button.addEventListener("click", () => {
    const next = NEXT[theme()];
    dataset.theme = next;
    localStorage.setItem(ITEM, next);
    button.textContent = NAMES[next];
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}

/** A colour of the style sheet as a canvas takes it: what a custom property holds may be a function of the theme. */
export function colour(name: string): string {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
