"""
Hooks of MkDocs: formulas become MathML, which browsers show without a script, and links leave docs/ for files of the root.

MkDocs calls the functions by their names: https://www.mkdocs.org/dev-guide/plugins/#events
"""

import html
import posixpath
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# Files of the root that become part of the site
ROOT_FILES = ("CONTRIBUTING.md", "CHANGELOG.md", "CITATION.bib")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', flags=re.DOTALL)
# A prime is a raised character of its own; as a superscript it would be raised twice
PRIME = re.compile(r"<msup>(<mi>[^<]*</mi>)<mi>&#x02032;</mi></msup>")
# :class:`Name` of the docstrings, after Markdown has read it
ROLE = re.compile(r":(?:class|func|meth|data|attr|mod):<code>~?(.*?)</code>")
PAGE_NAME = re.compile(r"(<code>)?docs/([\w/]+\.md)(?(1)</code>)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name in ROOT_FILES:
        path = posixpath.join(posixpath.dirname(config.config_file_path), name)
        files.append(File.generated(config, name, abs_src_path=path))
    return files


def on_page_markdown(markdown: str, page: Page, **kwargs: Any) -> str:
    """Point links from docs/ to ROOT_FILES, and from these into docs/, at their places in the site."""
    if page.file.src_uri in ROOT_FILES:
        return re.sub(r"\]\(docs/", "](", markdown)
    up = "../" * page.file.src_uri.count("/")
    for name in ROOT_FILES:
        markdown = markdown.replace(f"]({up}../{name}", f"]({up}{name}")
    return markdown


def on_page_content(content: str, page: Page, files: Files, **kwargs: Any) -> str:
    def formula(match: re.Match[str]) -> str:
        tex = html.unescape(match[3]).strip()
        mathml = convert(tex, display="block" if match[2] == "[" else "inline")
        if "\\" in mathml:
            raise PluginError(f"{page.file.src_uri}: latex2mathml does not know a command of ${tex}$")
        mathml = PRIME.sub(r"<mrow>\1<mo>&#x02032;</mo></mrow>", mathml)
        return f'<{match[1]} class="formula">{mathml}</{match[1]}>'

    def link(match: re.Match[str]) -> str:
        target = files.get_file_from_path(match[2])
        return f'<a href="{target.url_relative_to(page.file)}">{target.page.title}</a>' if target else match[0]

    # "::" before a literal block in the docstrings
    content = content.replace("::</p>", ":</p>")
    content = ROLE.sub(lambda match: f"<code>{match[1].rsplit('.', 1)[-1]}</code>", FORMULA.sub(formula, content))
    return PAGE_NAME.sub(link, content) if page.file.src_uri.startswith("reference/api_") else content
