"""What the paper reports (SARS, Tables I to V), to stand beside what is measured here."""

from __future__ import annotations

from collections.abc import Mapping

TABLE_1_MICC_MM: Mapping[str, float] = {"cooperative": 0.9, "indoor": 0.9, "outdoor": 0.9}
"""Average symmetric point-to-plane distance."""
TABLE_2_LPIPS = 0.1022
TABLE_3_3DPW_MM: Mapping[str, float] = {"mpjpe_mm": 93.3, "pa_mpjpe_mm": 53.0}
TABLE_4_EHF_MM: Mapping[str, float] = {
    "v2v_mm": 62.1, "pa_v2v_mm": 53.8, "body_v2v_mm": 78.3, "body_pa_v2v_mm": 53.5,
    "face_v2v_mm": 18.8, "face_pa_v2v_mm": 5.5,
}  # fmt: skip
TABLE_5_EHF_MM: Mapping[str, Mapping[str, float]] = {
    "copy-paste": {"v2v_mm": 73.2, "body_v2v_mm": 78.6, "face_v2v_mm": 31.2},
    "optimisation": {"v2v_mm": 66.4, "body_v2v_mm": 77.9, "face_v2v_mm": 20.8},
    "attention": {"v2v_mm": 62.1, "body_v2v_mm": 78.3, "face_v2v_mm": 18.8},
}


def beside(
    paper: Mapping[str, float], ours: Mapping[str, object], **more: Mapping[str, object]
) -> dict[str, dict[str, object]]:
    """The paper's figures with ours, and ours of other kinds; ``None`` where nothing was measured.

    Args:
        paper: by what was measured.
        ours: the same measure.
        more: by a name that says how it differs, what else of ours is to stand there.
    """
    columns = {"paper": paper, "ours": ours, **more}
    return {
        name: {column: figures.get(name) for column, figures in columns.items()} for name in paper
    }
