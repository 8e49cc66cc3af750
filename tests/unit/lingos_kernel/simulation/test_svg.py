"""Plots."""

from __future__ import annotations

from xml.etree import ElementTree

from lingos_kernel.simulation.svg import cumulative_plot


def test_a_plot_is_well_formed_and_names_its_series() -> None:
    """Any viewer can draw it; names are escaped; zeros lie at the left edge."""
    text = cumulative_plot("Title", "seconds", {"a & b": [0.0, 0.5, 20.0], "c": [3.0] * 500})
    root = ElementTree.fromstring(text)
    words = {element.text for element in root.iter() if element.text}
    assert {"Title", "seconds", "a & b", "c", "0.1", "100"} <= words
    assert sum(element.tag.endswith("polyline") for element in root.iter()) == 2
