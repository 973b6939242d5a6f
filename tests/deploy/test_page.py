"""The page to try networks, by requests and in a browser that may reach nothing but the page."""

import contextlib
import io
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests
import torch
from PIL import Image
from torch import Tensor, nn

from vocseg.data.classes import VOC_CLASSES
from vocseg.data.image_io import read_image
from vocseg.deploy import page
from vocseg.deploy.page import Model, page_server
from vocseg.inference.predictor import Predictor, load

pytest.importorskip("gradio", reason='Gradio is not installed: pip install "vocseg[app]"')
AEROPLANE, DOG, PERSON = (VOC_CLASSES.names.index(name) for name in ("aeroplane", "dog", "person"))
MOST_UPLOAD = 500_000  # bytes


class Halves(nn.Module):
    """Background above; below a class in three quarters of the width and another in the rest."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.gate = threading.Event()
        self.gate.set()

    def forward(self, images: Tensor) -> Tensor:
        self.gate.wait(30)
        logits = torch.zeros(len(images), len(VOC_CLASSES), *images.shape[2:])
        side = images.shape[2]
        logits[:, 0, : side // 2] = 9
        logits[:, self.left, side // 2 :, : 3 * side // 4] = 9
        logits[:, self.right, side // 2 :, 3 * side // 4 :] = 9
        return logits


class Site(NamedTuple):
    """A served page, its first network, and requests to it."""

    url: str
    network: Halves
    predictors: list[Predictor]

    def upload(self, path: Path) -> str:
        with path.open("rb") as file:
            answer = requests.post(f"{self.url}/gradio_api/upload", files={"files": (path.name, file)})
        return str(answer.json()[0])

    def join(self, path: str, session: str, **more: Any) -> requests.Response:
        """Ask for the prediction of a file."""
        return self.trigger("change", {"path": path, "meta": {"_type": "gradio.FileData"}, **more}, session)

    def trigger(self, event: str, value: Any, session: str) -> requests.Response:
        config = requests.get(f"{self.url}/config").json()
        number = next(each["id"] for each in config["dependencies"] if each["targets"][0][1] == event)
        body = {"data": [value], "fn_index": number, "session_hash": session, "event_data": None}
        return requests.post(f"{self.url}/gradio_api/queue/join", json=body)

    def result(self, session: str) -> dict[str, Any]:
        address = f"{self.url}/gradio_api/queue/data"
        with requests.get(address, {"session_hash": session}, stream=True, timeout=30) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix(b"data:")) if line else {}
                if message.get("msg") == "process_completed":
                    return dict(message["output"])
        raise AssertionError("no answer")


@pytest.fixture(scope="module")
def site(trained: Path) -> Iterator[Site]:
    """The page with a network of known masks and the session's trained one."""
    network = Halves(DOG, PERSON)
    models = [
        Model("runs/halves.pth", Predictor(network, VOC_CLASSES, 64)),
        Model("version_0/unet_voc.pth", load(trained / "unet_voc.pth", device="cpu")),
    ]
    listener = socket.create_server(("127.0.0.1", 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_MOST_UPLOAD", MOST_UPLOAD)
        patch.setattr(os, "environ", dict(os.environ))
        with page_server(models) as server:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            port = listener.getsockname()[1]
            yield Site(f"http://127.0.0.1:{port}", network, [model.predictor for model in models])
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph that the browser is shown smaller."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    shades = np.linspace(0, 255, 1600, dtype=np.uint8)[None, :, None].repeat(1200, 0).repeat(3, 2)
    Image.fromarray(shades).save(path)
    return path


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    """A browser window in light colours, whose tabs share their cache."""
    context = browser.new_context(color_scheme="light")
    yield context
    context.close()


@contextlib.contextmanager
def tab_of(context: Any, site: Site) -> Iterator[Any]:
    """A tab with the page; at its end nothing may have gone wrong, nor another address been asked."""
    tab, wrong = context.new_page(), []
    tab.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda fault: wrong.append(str(fault)))
    tab.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    own = (f"{site.url}/", f"blob:{site.url}/", "data:")
    tab.on("request", lambda asked: None if asked.url.startswith(own) else wrong.append(asked.url))
    tab.goto(site.url)
    tab.locator(".vocseg-result .hint").wait_for()
    yield tab
    assert wrong == []
    tab.close()


@pytest.fixture
def opened(context: Any, site: Site) -> Iterator[Any]:
    with tab_of(context, site) as tab:
        yield tab


def ground_is_dark(tab: Any) -> bool:
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    return int(re.findall(r"\d+", ground)[0]) < 128


def choose(opened: Any, path: Path, shows: str = ".vocseg-result canvas") -> None:
    opened.locator("input[type=file]").first.set_input_files(path)
    opened.locator(shows).first.wait_for()


def colour_at(opened: Any, model: int, x: float, y: float) -> list[int]:
    """RGBA of a model's canvas at fractions of its width and height."""
    script = """([model, x, y]) => {
        const canvas = document.querySelectorAll(".vocseg-result canvas")[model];
        const at = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];
        return [...canvas.getContext("2d").getImageData(...at, 1, 1).data];
    }"""
    return list(opened.evaluate(script, [model, x, y]))


def test_areas_are_listed_by_size_with_switches_for_both_models(opened: Any, photo: Path) -> None:
    choose(opened, photo)
    assert opened.title() == "vocseg"
    assert not ground_is_dark(opened)
    rows = opened.locator(".legend tbody tr")
    found = {row.locator("label").inner_text(): row.locator("td").all_inner_texts() for row in rows.all()}
    assert [found[name][0] for name in ("background", "dog", "person")] == ["50.0 %", "37.5 %", "12.5 %"]
    areas = [max(float(cell.strip("<% ")) for cell in cells) for cells in found.values()]
    assert areas == sorted(areas, reverse=True)
    assert opened.locator(".side > p").last.inner_text() == "photo.jpg, 1600x1200 pixels"
    captions = opened.locator("figcaption").all_inner_texts()
    assert re.match(r"A runs/halves.pth\s+[\d.]+ ms on CPU\s+Download mask", captions[0])
    assert captions[1].startswith("B version_0/unet_voc.pth")


def test_switches_and_opacity_change_the_overlay(opened: Any, photo: Path) -> None:
    choose(opened, photo)
    dog, person = ((*VOC_CLASSES.palette[label], 255) for label in (DOG, PERSON))
    drawn = [colour_at(opened, 0, x, y) for x, y in ((0.2, 0.2), (0.2, 0.8), (0.9, 0.8))]
    assert drawn == [[0, 0, 0, 0], list(dog), list(person)]  # at first without the background
    box = opened.get_by_role("checkbox", name="dog")
    assert box.evaluate("e => getComputedStyle(e).appearance") == "auto"  # Gradio's are white on white
    box.uncheck()
    assert [colour_at(opened, 0, x, 0.8)[3] for x in (0.2, 0.9)] == [0, 255]
    opened.get_by_role("button", name="Show all").click()
    assert [colour_at(opened, k, 0.2, 0.2)[3] for k in (0, 1)] == [255, 255]
    opened.get_by_role("button", name="Hide all").click()
    assert [colour_at(opened, k, 0.2, 0.8)[3] for k in (0, 1)] == [0, 0]
    opened.get_by_role("slider").fill("25")
    opacities = opened.eval_on_selector_all(".stage canvas", "all => all.map(e => e.style.opacity)")
    assert opacities == ["0.25", "0.25"]


def test_downloaded_masks_are_those_of_predict(opened: Any, photo: Path, site: Site) -> None:
    choose(opened, photo)
    for k, letter in enumerate("AB"):
        with opened.expect_download() as download:
            opened.locator(".save").nth(k).click()
        assert download.value.suggested_filename == f"photo_mask_{letter}.png"
        with Image.open(io.BytesIO(Path(download.value.path()).read_bytes())) as mask:
            assert mask.mode == "P"
            assert (np.asarray(mask) == site.predictors[k](read_image(photo)).mask).all()


def test_sample_image_is_predicted_and_cleared(opened: Any) -> None:
    opened.locator(".gallery-item").first.click()
    opened.locator(".vocseg-result canvas").first.wait_for()
    assert opened.locator(".side > p").last.inner_text().startswith("sample_1.jpg, ")
    opened.get_by_label("Remove Image").click()
    opened.locator(".vocseg-result .hint").wait_for()


def test_unreadable_upload_shows_a_sentence(opened: Any, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    (tmp_path / name).write_text("no image")
    choose(opened, tmp_path / name, ".vocseg-result .error")
    sentence = opened.get_by_role("alert").filter(has_text="cannot be read").inner_text()
    assert sentence.startswith(f"The image {name} cannot be read (it is not an image file): ")
    (tmp_path / "notes.txt").write_text("no image")
    choose(opened, tmp_path / "notes.txt", ".toast-body")
    assert "Only image/* allowed" in opened.locator(".toast-body").first.inner_text()


def test_oversized_upload_shows_a_sentence(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "large.bmp").write_bytes(bytes(MOST_UPLOAD + 1))
    choose(opened, tmp_path / "large.bmp", ".toast-body")
    assert "maximum allowed size" in opened.locator(".toast-body").inner_text()


def test_page_fits_phone_width_in_dark_colours(browser: Any, site: Site, photo: Path) -> None:
    phone = browser.new_context(viewport={"width": 375, "height": 740}, color_scheme="dark")
    with tab_of(phone, site) as tab:
        choose(tab, photo)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 375
        outside = tab.eval_on_selector_all(
            ".vocseg-result *",
            "all => all.filter(e => e.getBoundingClientRect().right > 376).map(e => e.outerHTML)",
        )
        assert outside == []
        first, second = (figure.bounding_box() for figure in tab.locator("figure").all())
        assert second["y"] > first["y"] + first["height"] - 1  # one below the other
        assert ground_is_dark(tab)
    phone.close()


@pytest.mark.parametrize("more", [{}, {"is_stream": True}, {"url": "http://127.0.0.1:9/a.jpg"}])
@pytest.mark.parametrize("path", ["file", "http://127.0.0.1:9/a.jpg"])
def test_file_that_was_not_uploaded_is_refused(
    site: Site, photo: Path, path: str, more: dict[str, Any]
) -> None:
    session = f"{path} {more}"
    assert site.join(str(photo) if path == "file" else path, session, **more).ok
    assert site.result(session)["error"] == "The image was not uploaded. Upload it."


@pytest.mark.parametrize("route", ["file=", "file/", "proxy="])
def test_page_fetches_no_address(site: Site, route: str) -> None:
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)
        address = f"http://127.0.0.1:{other.getsockname()[1]}/a.jpg"
        answer = requests.get(f"{site.url}/gradio_api/{route}{address}", allow_redirects=False)
        with contextlib.suppress(BlockingIOError):
            asked.append(other.accept())
    assert answer.status_code in (400, 403)
    assert asked == []


def test_uploads_beyond_the_queue_are_refused(site: Site, photo: Path) -> None:
    path = site.upload(photo)
    site.network.gate.clear()
    try:
        answers = [site.join(path, f"waiting {k}") for k in range(page._MOST_WAITING + 3)]
    finally:
        site.network.gate.set()
    assert answers[0].ok
    assert "Queue is full" in answers[-1].text
    assert len(site.result("waiting 0")["data"][0]["models"]) == 2


def test_uploads_are_removed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with page_server([Model("a", Predictor(Halves(DOG, PERSON), VOC_CLASSES, 64))]):
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert len(list((folder / "samples").iterdir())) == 3
    assert not folder.exists()
    assert list(Path(page.__file__).parent.glob("*.pyi")) == []  # Gradio writes such beside new components
