"""Annotations of COCO and labelme as index masks."""
