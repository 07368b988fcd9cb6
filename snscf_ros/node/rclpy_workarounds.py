# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Answers requests that rclpy's own service callbacks fail on: what they raise would end the executor."""

from __future__ import annotations

from typing import Any

from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node

from snscf_ros.node import parameters, rclpy_private


def answer_illegal_transitions(node: LifecycleNode) -> None:
    """Refuse a transition that the state does not allow. rclpy raises instead, and the caller gets no answer."""
    service = rclpy_private.service(node, ChangeState)
    change_state = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except Exception as error:  # rclpy's RCLError has no public name
            if node.context.ok():
                node.get_logger().error(f"transition {request.transition.id} refused: {error}")
            response.success = False
            return response

    service.callback = answer


def answer_malformed_parameters(node: Node) -> None:
    """Refuse a parameter whose type does not exist, where rclpy raises, and an unknown name, naming the nearest one."""
    each = rclpy_private.service(node, SetParameters)
    together = rclpy_private.service(node, SetParametersAtomically)
    set_each, set_together = each.callback, together.callback

    def answer_each(request: Any, response: Any) -> Any:
        for parameter in request.parameters:
            if not node.has_parameter(parameter.name) and (reasons := parameters.unknown([parameter.name])):
                response.results.append(SetParametersResult(successful=False, reason=reasons[0]))
                continue
            one = SetParameters.Request(parameters=[parameter])
            try:
                response.results += set_each(one, SetParameters.Response()).results
            except ValueError as error:
                response.results.append(SetParametersResult(successful=False, reason=str(error)))
        return response

    def answer_together(request: Any, response: Any) -> Any:
        try:
            return set_together(request, response)
        except ValueError as error:
            response.result = SetParametersResult(successful=False, reason=str(error))
            return response

    each.callback, together.callback = answer_each, answer_together
