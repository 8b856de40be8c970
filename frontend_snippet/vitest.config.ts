import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const react18 = (name: string) =>
  fileURLToPath(new URL(`test/react-18/node_modules/${name}`, import.meta.url));

export default defineConfig({
  test: {
    projects: [
      { test: { name: "all", environment: "happy-dom", include: ["test/**/*.test.ts"] } },
      {
        // The hooks and the component once more, with the oldest React that they are for.
        test: { name: "react 18", environment: "happy-dom", include: ["test/react*.test.ts"] },
        resolve: { alias: { "react-dom": react18("react-dom"), react: react18("react") } },
      },
    ],
  },
});
