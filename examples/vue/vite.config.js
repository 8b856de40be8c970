import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vite";

const backend = process.env.BACKEND_URL ?? "http://localhost:8000";

export default defineConfig({
  // Vue leaves the elements of kombo-embed to the browser.
  plugins: [vue({ template: { compilerOptions: { isCustomElement: (tag) => tag.startsWith("kombo-") } } })],
  server: { proxy: { "/kombo": backend, "/sign-in": backend } },
});
