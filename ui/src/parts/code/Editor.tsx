import { closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { json, jsonParseLinter } from "@codemirror/lang-json";
import {
  bidiIsolates,
  bracketMatching,
  foldGutter,
  foldKeymap,
  HighlightStyle,
  syntaxHighlighting,
} from "@codemirror/language";
import { linter } from "@codemirror/lint";
import { searchKeymap } from "@codemirror/search";
import { EditorState, type Extension } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useRef } from "react";
import type { EditorProps } from "./CodeEditor";

const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? "";

const look = EditorView.theme({
  "&": { height: "100%", fontSize: "12px", backgroundColor: "transparent", color: "var(--text)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55" },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--faint)", border: "0" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--hover)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "color-mix(in srgb, var(--accent) 28%, transparent) !important",
  },
  ".cm-panels": { backgroundColor: "var(--sunken)", color: "var(--text)" },
  ".cm-tooltip": { backgroundColor: "var(--raised)", border: "1px solid var(--border)" },
});

// That key is the page's: it sends what is written.
const WITHOUT_SUBMIT = defaultKeymap.filter(({ key }) => key !== "Mod-Enter");

const colours = HighlightStyle.define([
  { tag: tags.propertyName, color: "var(--code-key)" },
  { tag: tags.string, color: "var(--code-string)" },
  { tag: tags.number, color: "var(--code-number)" },
  { tag: [tags.bool, tags.null], color: "var(--code-atom)" },
]);

export default function Editor({ initial, label, language = "json", isReadOnly = false, ...rest }: EditorProps) {
  const place = useRef<HTMLDivElement>(null);
  const first = useRef({ initial, label, language, isReadOnly, isWrapped: rest.isWrapped ?? false });
  const latest = useRef(rest);
  useEffect(() => {
    latest.current = rest;
  });
  useEffect(() => {
    if (!place.current) return;
    const { initial, label, language, isReadOnly, isWrapped } = first.current;
    const extensions: Extension[] = [
      EditorView.cspNonce.of(nonce),
      look,
      syntaxHighlighting(colours),
      lineNumbers(),
      foldGutter(),
      bracketMatching(),
      drawSelection(),
      // Marks that can't be seen, or would turn the text after them around, are shown as what they are.
      highlightSpecialChars(),
      keymap.of([...closeBracketsKeymap, ...WITHOUT_SUBMIT, ...historyKeymap, ...searchKeymap, ...foldKeymap]),
      EditorView.contentAttributes.of({ "aria-label": label, role: "textbox", "aria-multiline": "true" }),
    ];
    if (isWrapped) extensions.push(EditorView.lineWrapping);
    if (language === "json") extensions.push(json(), bidiIsolates());
    if (isReadOnly) {
      extensions.push(EditorState.readOnly.of(true), EditorView.contentAttributes.of({ "aria-readonly": "true" }));
    } else {
      extensions.push(history(), closeBrackets(), highlightActiveLine(), keymap.of([indentWithTab]));
      extensions.push(
        EditorView.updateListener.of((update) => {
          if (update.docChanged) latest.current.onChange?.(update.state.doc.toString());
        }),
      );
      if (language === "json") extensions.push(linter(jsonParseLinter()));
    }
    const view = new EditorView({ doc: initial, extensions, parent: place.current });
    return () => view.destroy();
  }, []);
  return <div ref={place} style={{ height: "100%" }} />;
}
