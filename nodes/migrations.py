"""Nodes of ComfyUI that had other names, and what replaces them.

Source: the behaviour of ComfyUI, which offers the same nodes under both names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latentloom.engine.graph.migrations import migration, rename_inputs


@migration("T2IAdapterLoader", to="ControlNetLoader", fields=("t2i_adapter_name",))
def t2i_adapter_loader(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Adapters are loaded by the node for ControlNets."""
    return rename_inputs(inputs, t2i_adapter_name="control_net_name")


@migration("ConditioningAverage ", to="ConditioningAverage", fields=("conditioning_to_strength",))
def conditioning_average(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The name of the node once ended in a space."""
    return inputs
