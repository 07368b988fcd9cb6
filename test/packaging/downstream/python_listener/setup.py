# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

from setuptools import setup

setup(
    name="python_listener",
    version="0.0.0",
    packages=["python_listener"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/python_listener"]),
        ("share/python_listener", ["package.xml"]),
    ],
    entry_points={"console_scripts": ["listen = python_listener.listen:main"]},
)
