"""A page of HTML as its reader has it."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """A page as its reader has it: text by section, tables as rows of cells, tags and attributes."""

    VOID = ("meta", "img", "br", "input", "link")

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.rows, self.words, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if not {"style", "title"} & set(self.open):
            self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def table_rows(self, first):
        return [
            [" ".join(cell.split()) for cell in row] for row in self.rows if row and row[0].strip() == first
        ]
