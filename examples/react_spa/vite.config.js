import { defineConfig } from "vite";

export default defineConfig({
  esbuild: { jsx: "automatic" },
  // kombo-embed is a folder of this repository here, with packages of its own: one React is enough.
  resolve: { dedupe: ["react", "react-dom"] },
});
