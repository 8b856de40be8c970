"""The app that the container, the compose file and the systemd unit serve: kombo-embed alone.

In your own image, replace it with your app.
"""

from starlette.applications import Starlette

from kombo_embed import KomboEmbed

app = Starlette()
embed = KomboEmbed()  # KOMBO_AUTH says who is signed in
embed.install(app)
