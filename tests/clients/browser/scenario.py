"""Pages in a real browser upload to a bucket of another origin: presigned PUT, POST form by script and by hand.

Run by test_browser.py in an environment of its own:

    AWS_ACCESS_KEY_ID=A AWS_SECRET_ACCESS_KEY=S python scenario.py http://127.0.0.1:9000

It needs chromium and chromedriver, and talks to loopback only: the browser resolves no other name.
"""

import functools
import hashlib
import http.server
import os
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.session
from botocore.client import BaseClient
from botocore.config import Config
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PAGES = Path(__file__).parent
SMALL, LARGE = 1000, 9 * 1024 * 1024
"""Inside the metadata, and in more than one chunk."""

WAIT_S = 60

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost , EXCLUDE *.localhost",
)


@functools.cache
def content(size: int) -> bytes:
    """What the page's `content` makes."""
    return bytes((at ^ (at >> 8) * 31 ^ (at >> 16) * 17) & 0xFF for at in range(size))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        """Nothing: the test's own words are enough."""


@contextmanager
def site() -> Iterator[str]:
    """An origin that serves the page."""
    handler = functools.partial(_Quiet, directory=str(PAGES))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Headless Chromium with a new, empty profile."""
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium")
    with tempfile.TemporaryDirectory(prefix="trilith-browser-") as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(_program("chromedriver")))
        try:
            driver.set_script_timeout(WAIT_S)
            driver.set_page_load_timeout(WAIT_S)
            yield driver
        finally:
            driver.quit()


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"there is no {name}: install Debian's chromium and chromium-driver")
    return found


class Page:
    """The page of an origin, and what its functions return."""

    def __init__(self, driver: webdriver.Chrome, origin: str) -> None:
        self._driver = driver
        self.url = f"{origin}/page.html"

    def open(self) -> None:
        """Load it."""
        self._driver.get(self.url)

    def run(self, function: str, *arguments: object) -> Any:
        """What a function of the page comes to; {"error": ...} if it fails, as every call does that CORS refuses."""
        self.open()
        script = f"""
            const given = Array.from(arguments), done = given.pop();
            {function}(...given).then(done, (error) => done({{error: String(error)}}));
        """
        return self._driver.execute_async_script(script, *arguments)

    def submit(self, url: str, fields: dict[str, str], file: Path) -> str:
        """Choose a file in the form, press its button, and tell where that leads."""
        self.open()
        self._driver.execute_script("show(arguments[0], arguments[1])", url, fields)
        self._driver.find_element(By.ID, "file").send_keys(str(file))
        self._driver.find_element(By.ID, "button").click()
        WebDriverWait(self._driver, WAIT_S).until(lambda driver: driver.current_url != self.url)
        led: str = self._driver.current_url
        return led

    @property
    def source(self) -> str:
        """What is shown now."""
        shown: str = self._driver.page_source
        return shown


def client(endpoint: str, style: str) -> BaseClient:
    """An S3 client that also makes presigned URLs and policies."""
    config = Config(signature_version="s3v4", s3={"addressing_style": style})
    return botocore.session.get_session().create_client(
        "s3", region_name="us-east-1", endpoint_url=endpoint, config=config
    )


class Scenario:
    """The steps. `s3` looks from outside; `signer` makes the URLs and policies that the pages get."""

    def __init__(self, page: Page, stranger: Page, s3: BaseClient, signer: BaseClient, bucket: str) -> None:
        self._page = page
        self._stranger = stranger
        self._s3 = s3
        self._signer = signer
        self._bucket = bucket

    def _url(self, operation: str, key: str, **more: object) -> str:
        made: str = self._signer.generate_presigned_url(operation, Params={"Bucket": self._bucket, "Key": key, **more})
        return made

    def _form(self, key: str, *, most: int = LARGE, **fields: str) -> tuple[str, dict[str, str]]:
        conditions: list[object] = [["content-length-range", 1, most]]
        conditions += [{name: value} for name, value in fields.items()]
        made = self._signer.generate_presigned_post(self._bucket, key, Fields=fields, Conditions=conditions)
        return made["url"], made["fields"]

    def _stored(self, key: str) -> bytes:
        found: bytes = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return found

    def presigned_put(self) -> None:
        """PUT by fetch, with headers of its own: preflight, request, and the ETag that the page may read."""
        for size in (SMALL, LARGE):
            url = self._url("put_object", f"put/{size}", ContentType="text/x-test", Metadata={"from": "page"})
            headers = {"content-type": "text/x-test", "x-amz-meta-from": "page"}
            answer = self._page.run("put", url, size, headers)
            check(answer, status=200)
            etag = hashlib.md5(content(size), usedforsecurity=False).hexdigest()
            assert answer["headers"]["etag"] == f'"{etag}"', answer
            assert self._stored(f"put/{size}") == content(size)
            assert self._s3.head_object(Bucket=self._bucket, Key=f"put/{size}")["Metadata"] == {"from": "page"}

    def presigned_get(self) -> None:
        """GET by fetch of what was put; a missing key is an error that the page may read."""
        for size in (SMALL, LARGE):
            answer = self._page.run("get", self._url("get_object", f"put/{size}"))
            check(answer, status=200, size=size, sha256=hashlib.sha256(content(size)).hexdigest())
        check(self._page.run("get", self._url("get_object", "put/missing")), status=404)

    def form_by_script(self) -> None:
        """POST of a FormData by fetch, and the three answers that a form can ask for."""
        for status in ("200", "201", "204"):
            url, fields = self._form("post/${filename}", success_action_status=status)
            answer = self._page.run("post", url, fields, LARGE, f"å {status}.bin")
            check(answer, status=int(status))
            assert self._stored(f"post/å {status}.bin") == content(LARGE)
            assert ("<Key>post/å 201.bin</Key>" in answer["text"]) == (status == "201"), answer

    def form_too_large(self) -> None:
        """The policy's size range is an error that the page may read, and nothing is stored."""
        url, fields = self._form("post/large", most=SMALL)
        answer = self._page.run("post", url, fields, SMALL + 1, "large")
        check(answer, status=400)
        assert "<Code>EntityTooLarge</Code>" in answer["text"], answer
        assert "post/large" not in self._keys()

    def form_by_hand(self, folder: Path) -> None:
        """A real form: a chosen file, a pressed button, and the page that the browser is sent to."""
        file = folder / 'a "file" of ours.txt'
        file.write_bytes(content(SMALL))
        target = f"{self._page.url}?done=1"
        url, fields = self._form("hand/${filename}", success_action_redirect=target)
        led = parse_qs(urlsplit(self._page.submit(url, fields, file)).query)
        key = "hand/a %22file%22 of ours.txt"  # browsers write quotes of a file's name so
        etag = hashlib.md5(content(SMALL), usedforsecurity=False).hexdigest()
        assert led == {"done": ["1"], "bucket": [self._bucket], "key": [key], "etag": [f'"{etag}"']}, led
        assert self._stored(key) == content(SMALL)
        url, fields = self._form("hand/xml", success_action_status="201")
        self._page.submit(url, fields, file)
        assert "hand/xml" in self._page.source, self._page.source
        assert self._stored("hand/xml") == content(SMALL)

    def stranger(self) -> None:
        """A page of an origin that the bucket's rules do not name: it may write nothing by PUT, and read nothing."""
        for answer in (
            self._stranger.run("put", self._url("put_object", "stranger"), SMALL, {}),
            self._stranger.run("get", self._url("get_object", f"put/{SMALL}")),
            self._stranger.run("get", self._url("get_object", "put/missing")),
        ):
            assert answer == {"error": "TypeError: Failed to fetch"}, answer
        assert "stranger" not in self._keys()

    def _keys(self) -> set[str]:
        return {entry["Key"] for entry in self._s3.list_objects_v2(Bucket=self._bucket)["Contents"]}


def check(answer: dict[str, Any], **expected: object) -> None:
    """Each fact of an answer is as expected."""
    found = {name: answer.get(name) for name in expected}
    assert found == expected, answer


def main(endpoint: str) -> None:
    """All steps, path style and virtual-host style."""
    port = urlsplit(endpoint).port
    s3 = client(endpoint, "path")
    with site() as own, site() as other, browser() as driver, tempfile.TemporaryDirectory() as folder:
        for style, at in (("path", endpoint), ("virtual", f"http://s3.localhost:{port}")):
            bucket = f"browser-{uuid.uuid4().hex}"
            s3.create_bucket(Bucket=bucket)
            rule = {
                "AllowedOrigins": [own],
                "AllowedMethods": ["GET", "PUT", "POST"],
                "AllowedHeaders": ["*"],
                "ExposeHeaders": ["ETag"],
            }
            s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
            steps = Scenario(Page(driver, own), Page(driver, other), s3, client(at, style), bucket)
            for step in (steps.presigned_put, steps.presigned_get, steps.form_by_script, steps.form_too_large):
                step()
            steps.form_by_hand(Path(folder))
            steps.stranger()
            print(f"{style}: presigned PUT and GET, form by script and by hand, CORS")  # noqa: T201 - its report


if __name__ == "__main__":
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    main(sys.argv[1])
