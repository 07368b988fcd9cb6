"""SNS-CF as a ROS 2 node: images in, vision_msgs detections out."""
