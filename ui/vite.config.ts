import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// Where `npm run dev` finds the server whose data it shows.
const server = process.env.STEPWELL_URL ?? "http://127.0.0.1:8288";

export default defineConfig({
  plugins: [react()],
  resolve: { alias: { "~": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: {
    outDir: "../src/stepwell/ui/static",
    emptyOutDir: true,
    manifest: "manifest.json", // the bundle budget's test reads it
    target: "es2022",
    assetsInlineLimit: 0, // the content security policy allows no data: URLs
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { "/api": { target: server } } },
  test: { environment: "node", include: ["src/**/*.test.{ts,tsx}"] },
});
