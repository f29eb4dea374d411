"""The page "Draw your own": what it draws and writes is what the library builds."""

import random
import re

import numpy as np
import pytest
from playwright.sync_api import expect

import optax_cosine as oc

pytestmark = pytest.mark.site

LARGEST = 2**31 - 1
NAMES = ("peak", "floor", "length", "cycles", "warmup", "hold")
DEFAULTS = ("3e-4", "3e-5", "10_000", "1", "500", "0")


def random_settings(rng: random.Random) -> tuple[str, ...]:
    """The texts of the fields of some valid schedule."""
    peak = 10 ** rng.uniform(-7, 2)
    floor = rng.choice([0.0, peak, peak * rng.random(), peak * 1e-5])
    cycles = rng.choice([1, 1, 1, 2, 3, rng.randint(1, 50)])
    length = int(10 ** rng.uniform(0, np.log10(LARGEST // cycles)))
    warmup = rng.choice([0, length, rng.randint(0, length)])
    hold = rng.choice([0, length - warmup, rng.randint(0, length - warmup)])
    return tuple(map(str, (peak, floor, length, cycles, warmup, hold)))


SETTINGS = {
    "the defaults": DEFAULTS,
    "no warm-up": ("0.1", "0.0", "1_000", "1", "0", "0"),
    "no warm-up but a hold": ("0.1", "0.01", "1_000", "1", "0", "250"),
    "every phase": ("0.3", "1e-3", "777", "1", "50", "100"),
    "one step": ("3e-4", "3e-5", "1", "1", "0", "0"),
    "one step of warm-up": ("3e-4", "3e-5", "1", "1", "1", "0"),
    "one step, many times": ("3e-4", "3e-5", "1", "40", "0", "0"),
    "a floor at the peak": ("0.1", "0.1", "100", "1", "10", "0"),
    "all warm-up": ("0.1", "0.01", "300", "1", "300", "0"),
    "all warm-up and hold": ("0.1", "0.01", "300", "2", "200", "100"),
    "restarts": ("0.1", "1e-3", "1_000", "4", "0", "0"),
    "restarts with warm-ups": ("0.1", "1e-3", "30", "4", "7", "0"),
    "restarts with warm-ups and holds": ("0.1", "1e-3", "30", "4", "7", "5"),
    "the most restarts": ("0.1", "0", "2_000", "1_000", "100", "0"),
    "the longest": ("0.1", "0", str(LARGEST), "1", "1", "0"),
    "the smallest rates": ("1.18e-38", "0", "100", "1", "10", "0"),
    "the largest rates": ("1.7e38", "1e38", "100", "1", "10", "0"),
    "more digits than float32": (
        "0.123456789012",
        "0.0123456789",
        "5_000",
        "1",
        "9",
        "0",
    ),
    **{f"random {k}": random_settings(random.Random(k)) for k in range(5)},
}


def opened(page, address, settings=None):
    page.goto(f"{address}/live.html")
    if settings:
        fill(page, settings)
    return page


def fill(page, settings):
    for name, text in zip(NAMES, settings, strict=True):
        field(page, name).fill(text)


def field(page, name):
    return page.locator(f"#live-{name}-field")


def line(page) -> str:
    return page.locator("#live-line").text_content()


def built(source: str):
    """The schedule that a line of Python builds."""
    return eval(source, {"oc": oc})  # the page's own line, as a reader would paste it


def drawn_points(page) -> list[dict]:
    return page.evaluate("live.drawn().points")


def assert_near(rates, schedule, counts):
    """Within one unit in the last place of float32."""
    expected = np.array([schedule(int(count)) for count in counts], np.float32)
    np.testing.assert_array_max_ulp(np.asarray(rates, np.float32), expected, maxulp=1)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_every_drawn_rate_is_that_of_the_shown_line(page, address, settings):
    opened(page, address, settings)
    schedule, points = built(line(page)), drawn_points(page)
    counts = [point["count"] for point in points]
    assert counts[0] == 0
    assert counts[-1] == schedule.total_steps
    assert counts == sorted(set(counts))
    if schedule.total_steps < 1_200:
        assert counts == list(range(schedule.total_steps + 1))
    assert_near([point["rate"] for point in points], schedule, counts)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_shown_line_builds_what_the_fields_say(page, address, settings):
    opened(page, address, settings)
    peak, floor, length, cycles, warmup, hold = (eval(text) for text in settings)
    decay = length - warmup - hold
    parts = [
        oc.linear(0.0, peak, steps=warmup) if warmup else None,
        oc.constant(peak, steps=hold) if hold else None,
        oc.cosine(peak, floor, steps=decay) if decay else None,
    ]
    expected = oc.join(*[part for part in parts if part] * cycles)
    schedule = built(line(page))
    assert schedule.total_steps == expected.total_steps
    counts = [point["count"] for point in drawn_points(page)]
    assert [schedule(count) for count in counts] == [expected(k) for k in counts]


def test_the_shown_line_is_the_shortest_call(page, address):
    lines = {
        ("0.1", "0", "100", "1", "0", "0"): "oc.cosine_annealing_schedule("
        "init_value=0.1, decay_steps=100)",
        DEFAULTS: "oc.warmup_cosine_annealing_schedule(peak_value=3e-4, "
        "total_steps=10_000, warmup_steps=500, end_value=3e-5)",
        ("1", "0", "100", "1", "0", "20"): "oc.warmup_cosine_annealing_schedule("
        "peak_value=1.0, total_steps=100, warmup_steps=0, hold_steps=20)",
        ("0.1", "0", "100", "3", "0", "0"): "oc.cosine_restarts_schedule("
        "peak_value=0.1, cycle_steps=100, num_cycles=3)",
        ("0.1", "0.01", "100", "3", "9", "0"): "oc.cosine_restarts_schedule("
        "peak_value=0.1, cycle_steps=100, num_cycles=3, end_value=0.01, "
        "cycle_warmup_steps=9)",
        ("0.1", "0", "100", "3", "9", "1"): "oc.join(*[oc.linear(0.0, 0.1, steps=9), "
        "oc.constant(0.1, steps=1), oc.cosine(0.1, 0.0, steps=90)] * 3)",
    }
    for settings, expected in lines.items():
        assert line(opened(page, address, settings)) == expected


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_picture_shows_these_numbers(page, address, settings):
    opened(page, address, settings)
    path = page.locator(".live-curve").get_attribute("d")
    corners = np.array(
        [corner.split() for corner in path.removeprefix("M").split("L")], float
    )
    # The scales are read off the ticks, as a reader does.
    up, across = axis(page, "rate", "y"), axis(page, "count", "x")
    for point, (x, y) in zip(drawn_points(page), corners, strict=True):
        assert abs(axis_place(across, point["count"]) - x) < 0.05
        assert abs(axis_place(up, point["rate"]) - y) < 0.05


def axis(page, name, coordinate):
    """Two numbers of an axis and where they stand."""
    texts = page.locator(f"#live-picture .live-{name}")
    labels = texts.all_text_contents()
    places = texts.evaluate_all(
        f"texts => texts.map((text) => Number(text.getAttribute('{coordinate}')))"
    )
    units = {"K": 1e3, "M": 1e6, "B": 1e9}
    values = [
        float(re.sub("[,KMB]", "", label)) * units.get(label[-1], 1) for label in labels
    ]
    return values[0], places[0], values[-1], places[-1]


def axis_place(ends, value):
    low, start, high, end = ends
    return start + (value - low) / (high - low) * (end - start)


def test_the_evaluator_agrees_with_the_library_for_thousands_of_settings(browser, site):
    rng = random.Random(0)
    settings = [random_settings(rng) for _ in range(2_000)]
    totals = [int(length) * int(cycles) for _, _, length, cycles, _, _ in settings]
    counts = [
        [0, 1, total // 2, total - 1, total, total + 1, rng.randint(0, total)]
        for total in totals
    ]
    page = browser.new_page()
    page.goto((site / "live.html").as_uri())
    answers = page.evaluate(
        """([names, settings, counts]) => settings.map((texts, k) => {
            const entries = names.map((name, i) => [name, Number(texts[i])]);
            const numbers = Object.fromEntries(entries);
            const table = schedules.phases(numbers);
            return [
                schedules.mistake(numbers),
                schedules.python(numbers),
                counts[k].map((count) => schedules.value(table, count)),
                counts[k].map((count) => schedules.float32Text(
                    schedules.value(table, count))),
            ];
        })""",
        [NAMES, settings, counts],
    )
    page.close()
    for (mistake, source, rates, texts), at in zip(answers, counts, strict=True):
        assert mistake is None
        assert_near(rates, built(source), at)
        assert [np.float32(text) for text in texts] == [np.float32(r) for r in rates]
        assert all(len(x) <= len(str(np.float32(x))) for x in texts)


def test_the_curve_is_read_under_the_pointer(page, address):
    opened(page, address)
    chart = page.locator("#live-chart")
    box = chart.bounding_box()
    chart.hover(position={"x": box["width"] * 0.4, "y": box["height"] * 0.5})
    rate, count = read(page)
    assert 0 < count < 10_000
    assert np.float32(rate) == built(line(page))(count)
    assert field(page, "at").input_value() == f"{count:_}"
    circle = page.locator("#live-cross circle")
    assert abs(float(circle.get_attribute("cx")) - box["width"] * 0.4) < 1


def read(page) -> tuple[float, int]:
    rate, count = page.locator("#live-reading").text_content().split(" at count ")
    return float(rate), int(count.replace(",", ""))


def test_the_curve_is_read_from_the_keyboard(page, address):
    opened(page, address)
    slider = page.locator("#live-at")
    schedule = built(line(page))
    for key, expected in (("Home", 0), ("ArrowRight", 1), ("End", 10_000)):
        slider.press(key)
        assert read(page) == (pytest.approx(schedule(expected), rel=1e-6), expected)
        assert slider.get_attribute("aria-valuetext").endswith(f"{expected:,}")
    field(page, "at").fill("499")
    assert read(page) == (pytest.approx(schedule(499), rel=1e-6), 499)
    for unreadable in ("", "x", "-1", "0.5", "10001"):
        field(page, "at").fill(unreadable)
        expect(page.locator("#live-reading")).to_be_hidden()
        expect(field(page, "at")).to_have_attribute("aria-invalid", "true")


def test_the_line_copied_is_the_line_shown(page, address):
    opened(page, address)
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#live-copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == line(page)
    field(page, "hold").fill("7")
    expect(page.locator("#live-copy")).to_have_text("Copy")


def test_where_copying_is_not_allowed_the_line_is_selected(page, address):
    opened(page, address)
    refuse = "navigator.clipboard.writeText = () => Promise.reject()"
    page.evaluate(f"() => {{ {refuse} }}")
    page.locator("#live-copy").click()
    expect(page.locator("#live-copy")).to_have_text("Press Ctrl+C")
    assert page.evaluate("String(getSelection())").strip() == line(page)


def test_the_keyboard_alone_draws_and_copies(page, address):
    opened(page, address)
    page.locator("#live-at").focus()
    visited = ["live-at"]
    while visited[-1] != "live-copy":
        page.keyboard.press("Tab")
        visited.append(page.evaluate("document.activeElement.id"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", visited
        if visited[-1] == "live-warmup":
            before = line(page)
            page.keyboard.press("ArrowRight")
            assert "warmup_steps=600" in line(page)
            assert line(page) != before
    fields = [f"live-{name}{kind}" for name in NAMES for kind in ("-field", "")]
    assert visited == ["live-at", "live-at-field", *fields, "live-copy"]
    page.keyboard.press("Enter")
    expect(page.locator("#live-copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == line(page)


@pytest.mark.parametrize("name", NAMES)
def test_a_slider_is_at_every_place_a_valid_number(page, address, name):
    opened(page, address, ("0.1", "0", "1234", "2", "100", "30"))
    slider = page.locator(f"#live-{name}")
    slider.press("Home")
    numbers = [number(field(page, name))]
    for _ in range(int(slider.get_attribute("max"))):
        slider.press("ArrowRight")
        numbers.append(number(field(page, name)))
        assert slider.get_attribute("aria-valuetext") == (
            field(page, name).input_value()
        )
        assert built(line(page))
    assert numbers == sorted(set(numbers))


def number(locator) -> float:
    return float(locator.input_value().replace("_", ""))


HOSTILE = (
    *("", " ", "-1", "1e99", "1e999", "abc", "NaN", "Infinity", "0x10", "1,5"),
    *("<img src=x onerror=alert(1)>", "9" * 400, "1e-400", "--", "__", "1e", "0.5"),
)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_a_schedule_is_explained_and_the_nearest_is_drawn(
    page, address, name
):
    opened(page, address)
    valid = {("floor", "1e-400"), ("warmup", "1e-400"), ("hold", "1e-400")}
    valid |= {("peak", "0.5")}
    for text in HOSTILE:
        field(page, name).fill(text)
        assert page.locator("#live img").count() == 0
        drawn = drawn_points(page)
        assert_near(
            [point["rate"] for point in drawn],
            built(line(page)),
            [point["count"] for point in drawn],
        )
        assert page.locator(".live-curve").count() == 1
        if (name, text) in valid:
            expect(page.locator("#live-mistake")).to_be_hidden()
            assert built(line(page)).total_steps == 10_000
            continue
        sentence = page.locator("#live-mistake").text_content()
        assert re.search(r"\. Drawn with .*\d.*\.$", sentence)
        expect(field(page, name)).to_have_attribute("aria-invalid", "true")
    field(page, name).fill(dict(zip(NAMES, DEFAULTS, strict=True))[name])
    expect(page.locator("#live-mistake")).to_be_hidden()


def test_what_is_not_a_number_leaves_the_curve_as_it_was(page, address):
    opened(page, address, ("0.1", "0.01", "1_000", "1", "100", "0"))
    shown = line(page)
    for name in ("peak", "floor", "length", "warmup"):
        before = field(page, name).input_value()
        field(page, name).fill("")
        assert line(page) == shown
        field(page, name).fill(before)


def test_a_percentage_is_of_the_peak_or_of_the_length(page, address):
    opened(page, address, ("3e-4", "10%", "10_000", "1", "5%", "2.5 %"))
    expect(page.locator("#live-mistake")).to_be_hidden()
    assert built(line(page)) == oc.warmup_cosine_annealing_schedule(
        3e-4, 10_000, warmup_steps=500, hold_steps=250, end_value=3e-5
    )
    field(page, "length").fill("2_000")
    assert built(line(page)).phases[0].steps == 100
    for name, before in (("peak", "0.1"), ("length", "100"), ("cycles", "1")):
        field(page, name).fill("5%")
        expect(field(page, name)).to_have_attribute("aria-invalid", "true")
        field(page, name).fill(before)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ("0.1", "0", "300", "1", "500", "0"),
            "Warm-up 500 is more than the length 300. Drawn with warm-up 300.",
        ),
        (
            ("0.1", "0", "300", "2", "200", "1_000"),
            "Warm-up 200 + hold 1_000 is more than the length 300. Drawn with hold "
            "100.",
        ),
        (
            ("3e-4", "0.1", "300", "1", "0", "0"),
            "Floor 0.1 is above peak 3e-4; the floor is a rate, not a ratio: for a "
            "tenth of the peak write 3e-5. Drawn with floor 3e-4.",
        ),
        (
            ("0.1", "0", "2_000_000_000", "2", "0", "0"),
            "2 cycles of 2_000_000_000 updates do not fit in 2**31 - 1 updates. Drawn "
            "with cycles 1.",
        ),
        (
            ("0.1", "0", "100", "1001", "0", "0"),
            "The number of cycles must be a whole number from 1 to 1,000. Drawn with "
            "cycles 1_000.",
        ),
    ],
)
def test_what_does_not_fit_is_explained(page, address, settings, sentence):
    opened(page, address, settings)
    expect(page.locator("#live-mistake")).to_have_text(sentence)
    assert built(line(page))


def test_the_address_keeps_the_curve(page, address):
    settings = ("0.1", "1e-3", "30", "4", "7", "5")
    opened(page, address, settings)
    page.wait_for_url("**/live.html#*hold=5")
    shown, points = line(page), drawn_points(page)
    shared = page.url
    page.goto("about:blank")
    page.goto(shared)
    assert [field(page, name).input_value() for name in NAMES] == list(settings)
    assert line(page) == shown
    assert drawn_points(page) == points
    page.evaluate("location.hash = 'peak=0.5'")
    expect(field(page, "peak")).to_have_value("0.5")
    page.evaluate("location.hash = 'draw-your-own'")
    expect(field(page, "peak")).to_have_value("0.5")


def test_a_hostile_address_is_only_text(page, address):
    page.goto(f"{address}/live.html#peak=<img src=x onerror=alert(1)>&length=%E0%A4%A")
    assert page.locator("#live img").count() == 0
    assert "peak_value=3e-4, total_steps=10_000" in line(page)
    assert (
        page.locator("#live-mistake")
        .text_content()
        .startswith("The peak must be from 1.2e-38 to 1.7e38. Drawn with peak 3e-4")
    )


def test_thousands_may_be_set_apart_by_commas_too(page, address):
    opened(page, address)
    fill(page, ("3e-4", "3e-5", "10,000", "1", "1,500", "0"))
    assert "total_steps=10_000" in line(page)
    assert "warmup_steps=1_500" in line(page)
    for text in ("1,5", "10,00", ",100", "1,000,00", "1_0,000"):
        fill(page, ("3e-4", "3e-5", text, "1", "0", "0"))
        expect(field(page, "length")).to_have_attribute("aria-invalid", "true")


def test_a_phone_does_not_scroll_sideways(page, address):
    opened(page, address)
    for settings in SETTINGS.values():
        fill(page, settings)
        for narrow in (390, 360):
            page.set_viewport_size({"width": narrow, "height": 800})
            page.wait_for_function(f"live.drawn().view.width === {narrow - 32}")
            assert page.evaluate(RIGHT_EDGES) <= narrow, settings


# How far the page, and what is in it, reaches to the right.
RIGHT_EDGES = """Math.max(
    document.documentElement.scrollWidth,
    ...["chart", "line", "controls", "reading", "phases"].map((name) =>
        document.getElementById(`live-${name}`).getBoundingClientRect().right),
    ...[...document.querySelectorAll("#live text, #live-line span")].map((node) =>
        node.getBoundingClientRect().right),
)"""


def test_what_is_touched_is_large_enough(page, address):
    opened(page, address)
    for control in page.locator("#live input, #live button").all():
        box = control.bounding_box()
        assert min(box["width"], box["height"]) >= 24


def test_everything_has_a_name(page, address):
    opened(page, address)
    for control in page.locator("#live input").all():
        labels = control.evaluate("node => node.labels.length")
        assert labels == 1 or control.get_attribute("aria-label")
    for label in ("Peak", "Floor", "Length", "Cycles", "Warm-up", "Hold"):
        expect(page.get_by_label(label, exact=True)).to_have_role("slider")
        expect(page.get_by_label(f"{label}, exactly")).to_have_role("textbox")
    chart = page.get_by_role("img", name="Learning rate at each optimizer update")
    expect(chart).to_have_count(1)
    assert "warm-up 500" in page.locator("#live-description").text_content()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, address, mode):
    page.emulate_media(color_scheme=mode)
    opened(page, address)
    color = "(node, name) => getComputedStyle(node)[name]"
    ground = luminance(page.locator("body").evaluate(color, "backgroundColor"))
    assert (ground < 0.1) == (mode == "dark")
    for selector, name in (
        (".live-rate", "fill"),
        (".live-axis", "fill"),
        (".live-unit", "color"),
        ("#live-phases li", "color"),
        ("#live-reading", "color"),
        ("#live-line", "color"),
    ):
        shade = luminance(page.locator(selector).first.evaluate(color, name))
        low, high = sorted([shade, ground])
        assert (high + 0.05) / (low + 0.05) >= 4.5, selector


def luminance(color: str) -> float:
    """Of "rgb(r, g, b)", as the accessibility guidelines define it."""
    channels = np.array([int(x) for x in re.findall(r"\d+", color)[:3]]) / 255
    linear = np.where(
        channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_page_works_when_opened_as_a_file(page, site):
    opened(page, site.as_uri(), SETTINGS["every phase"])
    points = drawn_points(page)
    counts = [point["count"] for point in points]
    assert_near([point["rate"] for point in points], built(line(page)), counts)
    page.wait_for_url("**/live.html#*hold=100")


def test_without_scripts_a_sentence_says_so(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/live.html")
    sentence = page.locator("noscript").text_content()
    assert "This page draws with JavaScript, which is turned off here." in sentence
    expect(page.locator("#live")).to_be_hidden()
    context.close()
