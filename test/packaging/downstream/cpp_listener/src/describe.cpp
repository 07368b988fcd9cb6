// Copyright 2026 snscf maintainers
// SPDX-License-Identifier: Apache-2.0

// Prints a status as YAML, and the names that the libraries of snscf_msgs give to the types.
#include <iostream>

#include "rosidl_typesupport_cpp/message_type_support.hpp"
#include "rosidl_typesupport_cpp/service_type_support.hpp"
#include "snscf_msgs/msg/track_status_array.hpp"
#include "snscf_msgs/srv/init_target.hpp"

int main()
{
  using snscf_msgs::msg::TrackStatusArray;
  using snscf_msgs::srv::InitTarget;
  const auto * message = rosidl_typesupport_cpp::get_message_type_support_handle<TrackStatusArray>();
  const auto * service = rosidl_typesupport_cpp::get_service_type_support_handle<InitTarget>();
  if (message == nullptr || service == nullptr) {
    return 1;
  }
  TrackStatusArray status;
  status.camera = "front";
  status.targets.resize(1);
  status.targets[0].target_id = "7";
  std::cout << to_yaml(status) << rosidl_generator_traits::name<InitTarget>() << '\n';
  return 0;
}
