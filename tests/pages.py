"""Reads pages of HTML."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """What a page shows. It must not need anything from outside the file."""

    def __init__(self, text):
        super().__init__()
        self.images, self.tables, self.svgs, self.words = [], 0, 0, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.images.append(attributes["src"])
        self.tables += tag == "table"
        self.svgs += tag == "svg"
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), attributes

    def handle_data(self, data):
        self.words.append(data)
