import { Moon, Sun } from "lucide-react";
import { useState } from "react";
import { IconButton } from "./Button";

const KEY = "stepwell.theme"; // public/theme.js reads it before the first paint

function isDarkNow(): boolean {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Tell charts and editors, which paint by themselves, that the colours have changed. */
export const THEME_CHANGED = "stepwell:theme";

export function ThemeSwitch() {
  const [isDark, setDark] = useState(isDarkNow);
  const change = () => {
    const theme = isDark ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    localStorage.setItem(KEY, theme);
    window.dispatchEvent(new Event(THEME_CHANGED));
    setDark(!isDark);
  };
  return (
    <IconButton label={isDark ? "Use the light theme" : "Use the dark theme"} onClick={change}>
      {isDark ? <Sun size={15} /> : <Moon size={15} />}
    </IconButton>
  );
}
