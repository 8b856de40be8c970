"""kombo-embed as a process of its own, beside a host in another language: `uvicorn sidecar:app`."""

from starlette.applications import Starlette

from kombo_embed import KomboEmbed

app = Starlette()
embed = KomboEmbed()  # KOMBO_AUTH=bearer: the host's tokens say who is signed in
embed.install(app)
