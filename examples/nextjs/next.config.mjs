// The browser calls /kombo on the page's own origin, so the login's cookie is sent; Next.js passes it on to the backend.
const backend = process.env.BACKEND_URL ?? "http://localhost:8000";

/** @type {import("next").NextConfig} */
export default {
  async rewrites() {
    return ["/kombo/:path*", "/sign-in"].map((source) => ({
      source,
      destination: `${backend}${source}`,
    }));
  },
};
